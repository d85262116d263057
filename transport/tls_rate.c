// SPDX-License-Identifier: Apache-2.0
// Sealing a record's worth again and again, by the thread's own time: other load does not count.
#include "tls_rate.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include "cleanup.h"
#include "tls.h"

#define TRIAL_NS 5000000ll
#define RECORDS 16 /* between two looks at the clock */

bool tls_rate_prefers_chacha(void)
{
#if defined(__x86_64__)
	return !__builtin_cpu_supports("aes");
#else
	return false;
#endif
}

static long long used_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* As TLS does it, but for the head, which does not count. */
static bool seal(EVP_CIPHER_CTX *ctx, const uint8_t *from, uint8_t *to)
{
	static const uint8_t nonce[12];
	int n;

	return EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
	       EVP_EncryptUpdate(ctx, to, &n, from, TLS_RECORD_MAX) == 1 &&
	       EVP_EncryptFinal_ex(ctx, to + n, &n) == 1;
}

static unsigned int try(EVP_CIPHER_CTX *ctx, const uint8_t *from, uint8_t *to)
{
	long long begun = used_ns(), ns = 0, bytes = 0;

	while (ns < TRIAL_NS) {
		for (unsigned int i = 0; i < RECORDS; i++)
			if (!seal(ctx, from, to))
				return 0;
		bytes += RECORDS * (long long)TLS_RECORD_MAX;
		ns = used_ns() - begun;
	}
	return (unsigned int)(bytes * 1000 / ns);
}

unsigned int tls_rate(bool chacha)
{
	static const uint8_t key[32] = {1};
	const EVP_CIPHER *cipher = chacha ? EVP_chacha20_poly1305() : EVP_aes_128_gcm();
	_cleanup_free_ uint8_t *from = calloc(1, TLS_RECORD_MAX);
	_cleanup_free_ uint8_t *to = malloc(TLS_RECORD_MAX + TLS_RECORD_OVERHEAD);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned int rate = 0;

	if (from && to && ctx && EVP_EncryptInit_ex(ctx, cipher, NULL, key, NULL) == 1)
		rate = try(ctx, from, to);
	EVP_CIPHER_CTX_free(ctx);
	return rate;
}
