// SPDX-License-Identifier: Apache-2.0
// What a bench is asked for. Constant once parsed.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "bench_pattern.h"

#define BENCH_STREAMS_MAX 8
#define BENCH_TIMES_MAX 99

enum bench_memory {
	BENCH_SMALL,   /* a memfd: tmpfs, 4 KiB pages */
	BENCH_HUGE,    /* a memfd of huge pages of 2 MiB, as hugetlbfs */
	BENCH_PRIVATE, /* the guest's own; at the destination it is a memfd */
	BENCH_MEMORIES
};

struct bench_options {
	enum bench_memory memory;
	enum bench_pattern_kind pattern;
	uint64_t data, zero; /* bytes of memory with content, and without */
	uint64_t rate;	     /* bytes per second of pages that the guest writes */
	unsigned int streams, times;
	uint32_t max_downtime_ms;
	const char *tls_dir; /* NULL: plain */
	bool json;
};

/* "tmpfs", "hugetlbfs", "private"; NULL past the last one. */
const char *bench_memory_name(unsigned int memory);
bool bench_memory_of(const char *name, enum bench_memory *memory);
