// SPDX-License-Identifier: Apache-2.0
// What this process has used, and numbers of several runs.
#include "bench_usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "cleanup.h"

static uint64_t timeval_us(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

uint64_t bench_usage_cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return timeval_us(u.ru_utime) + timeval_us(u.ru_stime);
}

uint64_t bench_usage_memory(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
			break;
	return kib * 1024;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_usage_median(double *values, unsigned int count)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}
