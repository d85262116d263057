#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# OpenSSL, TLS 1.3: a client that only writes, and closes in good order, loses the end of what it has written.
#
# After the handshake the server sends two session tickets unasked. A client that never reads leaves them in its socket,
# and to close a TCP socket with unread bytes sends a reset, which also throws away what the peer has received and not
# yet read. The client sees nothing of it: SSL_write has taken all, SSL_shutdown and close succeed. The server reads the
# beginning and then an error of the socket (SSL_ERROR_SYSCALL). With SSL_CTX_set_num_tickets(0) at the server all
# arrives. Seen with OpenSSL 3.6.5, 3.5.9 and 3.0.19, over loopback, a server that begins to read after the client has
# closed: 81,920 of 1,000,000 bytes.
#
# The script runs 3.5.9, with its own libc beside the machine's, and passes while this is so.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/packages.bash"

packages_unpack trixie libssl3t64=3.5.9-1~deb13u1 libssl-dev=3.5.9-1~deb13u1 libc6 libzstd1 zlib1g

cat >"$WORK/tickets.c" <<'END'
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES 1000000

static EVP_PKEY *key;
static X509 *cert;
static struct sockaddr_in address;

static void make_certificate(void)
{
	key = EVP_EC_gen("P-256");
	cert = X509_new();
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
}

static void *client(void *arg)
{
	static char bytes[BYTES];
	SSL *s = SSL_new(SSL_CTX_new(TLS_client_method()));
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	SSL_set_fd(s, fd);
	if (SSL_connect(s) != 1 || SSL_write(s, bytes, BYTES) != BYTES || SSL_shutdown(s) < 0)
		abort();
	SSL_free(s);
	if (close(fd) < 0)
		abort();
	return arg;
}

/* What arrives at a server that sends so many tickets. */
static void serve(const char *name, size_t tickets)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int ear = socket(AF_INET, SOCK_STREAM, 0), fd, n, got = 0;
	socklen_t len = sizeof(address);
	pthread_t thread;
	char buf[16384];
	SSL *s;

	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	SSL_CTX_set_num_tickets(ctx, tickets);
	address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(ear, (struct sockaddr *)&address, len) < 0 || listen(ear, 1) < 0 ||
	    getsockname(ear, (struct sockaddr *)&address, &len) < 0)
		abort();
	pthread_create(&thread, NULL, client, NULL);
	fd = accept(ear, NULL, NULL);
	s = SSL_new(ctx);
	SSL_set_fd(s, fd);
	if (SSL_accept(s) != 1)
		abort();
	pthread_join(thread, NULL); /* it has closed */
	while ((n = SSL_read(s, buf, sizeof(buf))) > 0)
		got += n;
	printf("%s %d %s\n", name, got, SSL_get_error(s, n) == SSL_ERROR_ZERO_RETURN ? "end" : "error");
}

int main(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	signal(SIGPIPE, SIG_IGN);
	make_certificate();
	printf("version %s\n", OpenSSL_version(OPENSSL_VERSION_STRING));
	serve("usual", SSL_CTX_get_num_tickets(ctx));
	serve("none", 0);
	return 0;
}
END
lib=$(echo "$TREE"/usr/lib/*-linux-gnu)
multiarch=${lib##*/}
cc -O1 -I"$TREE/usr/include" -I"$TREE/usr/include/$multiarch" -o "$WORK/tickets" "$WORK/tickets.c" \
	"$lib/libssl.so.3" "$lib/libcrypto.so.3" -Wl,--unresolved-symbols=ignore-in-shared-libs -pthread
timeout 60 "$lib"/ld-linux-*.so.* --library-path "$lib" "$WORK/tickets" | tee "$WORK/seen"

value() {
	awk -v name="$1" -v field="$2" '$1 == name { print $field }' "$WORK/seen"
}

expect "OpenSSL 3.5.9 was tried" test "$(value version 2)" = 3.5.9
expect "by default not all of 1,000,000 bytes arrive" test "$(value usual 2)" -lt 1000000
expect "... and the server gets an error, the client none" test "$(value usual 3)" = error
expect "without tickets all do" test "$(value none 2)" = 1000000
expect "... up to an orderly end" test "$(value none 3)" = end
