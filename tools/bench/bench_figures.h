// SPDX-License-Identifier: Apache-2.0
// What a run of the bench is measured by.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include "bench_options.h"

enum bench_figure {
	BENCH_FIRST_BYTES_PER_S, /* data of the first round, until the destination had it */
	BENCH_TOTAL_S,		 /* from the first byte until the last check */
	BENCH_ROUNDS,
	BENCH_STOP_S,	  /* of it, the guest stood still: last pass and check */
	BENCH_SOURCE_CPU, /* seconds of processor time per GiB of data sent */
	BENCH_DESTINATION_CPU,
	BENCH_WIRE_BYTES, /* sent by all streams */
	BENCH_PAGES_SENT,
	BENCH_PAGES_ZERO,
	BENCH_PAGES_SKIPPED,
	BENCH_SOURCE_MEMORY, /* bytes, most, without the guest's */
	BENCH_DESTINATION_MEMORY,
	/* ceilings, measured in the same run */
	BENCH_BARE_BYTES_PER_S,	    /* the same streams with nothing to do */
	BENCH_BARE_SOURCE_CPU,	    /* as above */
	BENCH_BARE_DESTINATION_CPU, /* as above */
	BENCH_MEMCPY_BYTES_PER_S,   /* of one core */
	BENCH_AES_BYTES_PER_S,	    /* AES-128-GCM by OpenSSL, of one core */
	/* 1: as good as the ceiling */
	BENCH_SPEED_RATIO, /* first round against bare */
	BENCH_CPU_RATIO,   /* processor time of bare, both ends, against ours */
	BENCH_FIGURES
};

struct bench_figures {
	double of[BENCH_FIGURES];
};

/* The two ratios, from the others. */
void bench_figures_relate(struct bench_figures *f);
/* Of each figure its median. */
struct bench_figures bench_figures_median(const struct bench_figures *runs, unsigned int count);
/* One line of JSON on standard output: event "run" or "result". */
void bench_figures_json(const char *event, const struct bench_options *o,
			const struct bench_figures *f);
/* For people, on standard output. */
void bench_figures_print(const struct bench_options *o, const struct bench_figures *f);
