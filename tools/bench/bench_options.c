// SPDX-License-Identifier: Apache-2.0
// What a bench is asked for.
#include "bench_options.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = {
	[BENCH_SMALL] = "tmpfs",
	[BENCH_HUGE] = "hugetlbfs",
	[BENCH_PRIVATE] = "private",
};

const char *bench_memory_name(unsigned int memory)
{
	return memory < BENCH_MEMORIES ? names[memory] : NULL;
}

bool bench_memory_of(const char *name, enum bench_memory *memory)
{
	for (unsigned int i = 0; i < BENCH_MEMORIES; i++)
		if (strcmp(name, names[i]) == 0) {
			*memory = (enum bench_memory)i;
			return true;
		}
	return false;
}
