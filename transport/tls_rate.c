// SPDX-License-Identifier: Apache-2.0
// Sealing the same record again and again, by the thread's own time: other load does not count.
#include "tls_rate.h"

#include <stdlib.h>
#include <time.h>
#include "cleanup.h"
#include "tls_record.h"

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

static unsigned int try(struct tls_record *r, uint8_t *from, uint8_t *to)
{
	const struct iovec iov = {from, TLS_RECORD_MAX};
	long long begun = used_ns(), ns = 0, bytes = 0;

	while (ns < TRIAL_NS) {
		for (unsigned int i = 0; i < RECORDS; i++)
			if (tls_record_seal(r, TLS_DATA, &iov, 1, to) < 0)
				return 0;
		bytes += RECORDS * (long long)TLS_RECORD_MAX;
		ns = used_ns() - begun;
	}
	return (unsigned int)(bytes * 1000 / ns);
}

unsigned int tls_rate(bool chacha)
{
	const struct tls_traffic traffic = {.chacha = chacha};
	_cleanup_free_ uint8_t *from = calloc(1, TLS_RECORD_MAX);
	_cleanup_free_ uint8_t *to = malloc(TLS_RECORD_MAX + TLS_RECORD_OVERHEAD);
	struct tls_record *r;
	unsigned int rate;

	if (!from || !to || tls_record_new(&traffic, true, &r) < 0)
		return 0;
	rate = try(r, from, to);
	tls_record_destroy(r);
	return rate;
}
