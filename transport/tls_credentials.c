// SPDX-License-Identifier: Apache-2.0
// The files of a directory, as an SSL_CTX for both sides of a connection.
//
// Where a file's time, size or inode is another one than before, all are read anew; what is under
// way keeps what it began with. New files that are no good leave the old ones in force for
// connections that need no certificate: a post-copy that is cut off must be able to go on.
#include "tls_credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cleanup.h"
#include "tls_credentials_private.h"
#include "tls_rate.h"

#define PATH_SIZE 512
/* Between the renaming of one new file and of the next they do not fit each other. */
#define LOAD_TRIES 3
#define LOAD_AGAIN_US 20000

enum file { FILE_CA, FILE_CERTIFICATE, FILE_KEY, FILE_REVOKED, FILES };

static const char *const names[FILES] = {"ca.crt", "tls.crt", "tls.key", "crl.pem"};

struct stamp {
	struct timespec changed;
	off_t size;
	ino_t inode;
};

struct tls_credentials {
	char *dir; /* constant after init */

	pthread_mutex_t lock;
	/* under lock */
	struct stamp stamps[FILES];
	SSL_CTX *ctx;	    /* the last that was good */
	int error;	    /* of the latest reading */
	struct errtext why; /* the same */
};

/* ---- a file ---- */

static void file_path(const char *dir, enum file file, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s", dir, names[file]);
}

static int check_mode(int fd, const char *path, struct errtext *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return errtext_set(err, -errno, "%s: %s", path, strerror(errno));
	if (st.st_mode & 077)
		return errtext_set(err, -EACCES,
				   "%s: others than its owner can read it (mode %04o): whoever has "
				   "read it can pass for this host. chmod 600 it, or better make a "
				   "new one with dray-pki",
				   path, st.st_mode & 07777);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return errtext_set(err, -EACCES, "%s: it belongs to user %u, who could change it",
				   path, st.st_uid);
	return 0;
}

static int open_failed(const char *dir, enum file file, const char *path, int error,
		       struct errtext *err)
{
	if (error == ENOENT && file != FILE_REVOKED)
		return errtext_set(
			err, -ENOENT,
			"%s: there is no such file. Make certificates for both hosts "
			"with dray-pki and put this one's into %s; or, if the network "
			"is trusted with guests' memory, say --disable-tls on both hosts",
			path, dir);
	return errtext_set(err, -error, "%s: cannot be read: %s", path, strerror(error));
}

static int file_open(const char *dir, enum file file, BIO **out, struct errtext *err)
{
	char path[PATH_SIZE];
	_cleanup_close_ int fd = -1;
	int ret = 0;

	file_path(dir, file, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return open_failed(dir, file, path, errno, err);
	if (file == FILE_KEY)
		ret = check_mode(fd, path, err);
	if (ret < 0)
		return ret;
	*out = BIO_new_fd(fd, BIO_CLOSE);
	if (!*out)
		return errtext_set(err, -ENOMEM, "out of memory");
	steal_fd(&fd);
	return 0;
}

static int malformed(const char *dir, enum file file, const char *what, struct errtext *err)
{
	char path[PATH_SIZE], why[256];

	file_path(dir, file, path);
	tls_certificate_last_error(why, sizeof(why));
	return errtext_set(err, -EBADMSG, "%s: %s (%s)", path, what, why);
}

/* After the last object of a PEM file; anything but its end is an error. */
static bool at_end(void)
{
	unsigned long code = ERR_peek_last_error();
	bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

/* ---- what they hold ---- */

static int no_password(char *buf, int size, int writing, void *opaque)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)opaque;
	return -1;
}

static int load_ca(const char *dir, SSL_CTX *ctx, struct errtext *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = NULL;
	X509 *cert;
	int count = 0, ret = file_open(dir, FILE_CA, &bio, err);

	if (ret < 0)
		return ret;
	while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		count += X509_STORE_add_cert(store, cert);
		SSL_CTX_add_client_CA(ctx, cert);
		X509_free(cert);
	}
	BIO_free(bio);
	if (count && at_end())
		return 0;
	return malformed(dir, FILE_CA, "it holds no CA's certificate in PEM, or a broken one", err);
}

static int load_revoked(const char *dir, SSL_CTX *ctx, struct errtext *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = NULL;
	X509_CRL *crl;
	int count = 0, ret = file_open(dir, FILE_REVOKED, &bio, NULL);

	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		return file_open(dir, FILE_REVOKED, &bio, err);
	while ((crl = PEM_read_bio_X509_CRL(bio, NULL, no_password, NULL))) {
		count += X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
	}
	BIO_free(bio);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	if (count && at_end())
		return 0;
	return malformed(dir, FILE_REVOKED, "it holds no CRL in PEM, or a broken one", err);
}

static int load_certificate(const char *dir, SSL_CTX *ctx, struct errtext *err)
{
	BIO *bio = NULL;
	X509 *cert;
	int count = 0, ret = file_open(dir, FILE_CERTIFICATE, &bio, err);

	if (ret < 0)
		return ret;
	while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		int ok = count ? (int)SSL_CTX_add1_chain_cert(ctx, cert)
			       : SSL_CTX_use_certificate(ctx, cert);

		count += ok == 1;
		X509_free(cert);
		if (ok != 1)
			break;
	}
	BIO_free(bio);
	if (count && at_end())
		return 0;
	return malformed(dir, FILE_CERTIFICATE,
			 "it holds no certificate in PEM, or one that cannot be used", err);
}

static int load_key(const char *dir, SSL_CTX *ctx, struct errtext *err)
{
	BIO *bio = NULL;
	EVP_PKEY *key;
	int ok, ret = file_open(dir, FILE_KEY, &bio, err);

	if (ret < 0)
		return ret;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (!key)
		return malformed(dir, FILE_KEY,
				 "it holds no private key in PEM, or one that is encrypted", err);
	ok = X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) == 1 &&
	     SSL_CTX_use_PrivateKey(ctx, key) == 1;
	EVP_PKEY_free(key);
	if (ok)
		return 0;
	return malformed(dir, FILE_KEY, "it is not the key of the certificate in tls.crt", err);
}

/* As the others will: better now than when a guest is half there. */
static int check_own(const char *dir, SSL_CTX *ctx, struct errtext *err)
{
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;
	char whose[PATH_SIZE + 32];
	int ret = 0;

	SSL_CTX_get0_chain_certs(ctx, &chain);
	snprintf(whose, sizeof(whose), "%s/tls.crt: this host's", dir);
	if (!check || X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(ctx),
					  SSL_CTX_get0_certificate(ctx), chain) != 1) {
		ret = errtext_set(err, -ENOMEM, "out of memory");
	} else if (X509_verify_cert(check) != 1) {
		ret = -EKEYREJECTED;
		tls_certificate_explain(check, whose, dir, NULL, err);
	}
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return ret;
}

/* ---- all of them ---- */

/* A CPU without AES instructions puts ChaCha20 first, and wins, whichever side it is. Both have
 * SHA-256, which a session's secret is for. */
static const char *cipher_order(void)
{
	return tls_rate_prefers_chacha() ? "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
					 : "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
}

static int configure(SSL_CTX *ctx, struct errtext *err)
{
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
					 SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	    SSL_CTX_set_ciphersuites(ctx, cipher_order()) == 1 &&
	    SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
	    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)TLS_CONTEXT_NAME,
					   sizeof(TLS_CONTEXT_NAME) - 1) == 1)
		return 0;
	return errtext_set(err, -ENOTSUP, "this OpenSSL cannot be made to speak TLS 1.3 only");
}

static int load(const char *dir, SSL_CTX **out, struct errtext *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	int ret = ctx ? configure(ctx, err) : errtext_set(err, -ENOMEM, "out of memory");

	ERR_clear_error();
	if (ret == 0)
		ret = load_ca(dir, ctx, err);
	if (ret == 0)
		ret = load_revoked(dir, ctx, err);
	if (ret == 0)
		ret = load_certificate(dir, ctx, err);
	if (ret == 0)
		ret = load_key(dir, ctx, err);
	if (ret == 0)
		ret = check_own(dir, ctx, err);
	ERR_clear_error();
	if (ret < 0)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	return ret;
}

static void look(const char *dir, struct stamp stamps[FILES])
{
	char path[PATH_SIZE];
	struct stat st;

	memset(stamps, 0, sizeof(*stamps) * FILES);
	for (enum file i = 0; i < FILES; i++) {
		file_path(dir, i, path);
		if (stat(path, &st) == 0)
			stamps[i] = (struct stamp){st.st_ctim, st.st_size, st.st_ino};
	}
}

static bool same_stamps(const struct stamp *a, const struct stamp *b)
{
	for (enum file i = 0; i < FILES; i++)
		if (a[i].changed.tv_sec != b[i].changed.tv_sec ||
		    a[i].changed.tv_nsec != b[i].changed.tv_nsec || a[i].size != b[i].size ||
		    a[i].inode != b[i].inode)
			return false;
	return true;
}

/* Under the lock. The files' stamps are taken before they are read: what is changed meanwhile is
 * read again the next time. */
static void renew(struct tls_credentials *c)
{
	struct stamp now[FILES];
	SSL_CTX *fresh = NULL;

	look(c->dir, now);
	if ((c->ctx || c->error) && same_stamps(now, c->stamps))
		return;
	memcpy(c->stamps, now, sizeof(now));
	for (int i = 0; i < LOAD_TRIES && (i == 0 || c->error == -EBADMSG); i++) {
		if (i > 0)
			usleep(LOAD_AGAIN_US);
		c->why = (struct errtext){0};
		c->error = load(c->dir, &fresh, &c->why);
	}
	if (c->error < 0)
		return;
	SSL_CTX_free(c->ctx);
	c->ctx = fresh;
}

int tls_credentials_current(struct tls_credentials *c, SSL_CTX **ctx, struct errtext *err)
{
	int ret;

	pthread_mutex_lock(&c->lock);
	renew(c);
	*ctx = c->ctx;
	if (c->ctx)
		SSL_CTX_up_ref(c->ctx);
	ret = c->error;
	if (ret < 0)
		errtext_set(err, ret, "%s", c->why.text);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

int tls_credentials_new(const char *dir, struct tls_credentials **out, struct errtext *err)
{
	struct tls_credentials *c = calloc(1, sizeof(*c));
	SSL_CTX *ctx = NULL;
	int ret;

	if (!c || !(c->dir = strdup(dir))) {
		free(c);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	pthread_mutex_init(&c->lock, NULL);
	ret = tls_credentials_current(c, &ctx, err);
	SSL_CTX_free(ctx);
	if (ret < 0)
		tls_credentials_destroy(c);
	else
		*out = c;
	return ret;
}

void tls_credentials_destroy(struct tls_credentials *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	pthread_mutex_destroy(&c->lock);
	free(c->dir);
	free(c);
}

const char *tls_credentials_dir(const struct tls_credentials *c)
{
	return c->dir;
}

int tls_credentials_describe(struct tls_credentials *c, char *subject, size_t size, int64_t *until,
			     struct errtext *err)
{
	char whole[TLS_SUBJECT_SIZE];
	SSL_CTX *ctx = NULL;
	int ret = tls_credentials_current(c, &ctx, err);
	const X509 *cert = ret == 0 ? SSL_CTX_get0_certificate(ctx) : NULL;
	struct tm tm = {0};

	if (cert) {
		tls_certificate_subject(cert, whole);
		snprintf(subject, size, "%s", whole);
		if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
			*until = timegm(&tm);
		else
			ret = errtext_set(err, -EBADMSG, "%s/tls.crt: no date of expiry", c->dir);
	}
	SSL_CTX_free(ctx);
	return ret;
}
