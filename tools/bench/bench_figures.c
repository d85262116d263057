// SPDX-License-Identifier: Apache-2.0
// What a run of the bench is measured by.
#include "bench_figures.h"

#include <stdio.h>
#include "bench_usage.h"
#include "json_field.h"
#include "size_text.h"

static const char *const keys[] = {
	[BENCH_FIRST_BYTES_PER_S] = "first_round_bytes_per_s",
	[BENCH_TOTAL_S] = "total_s",
	[BENCH_ROUNDS] = "rounds",
	[BENCH_STOP_S] = "stop_s",
	[BENCH_SOURCE_CPU] = "source_cpu_s_per_gib",
	[BENCH_DESTINATION_CPU] = "destination_cpu_s_per_gib",
	[BENCH_WIRE_BYTES] = "wire_bytes",
	[BENCH_PAGES_SENT] = "pages_sent",
	[BENCH_PAGES_ZERO] = "pages_zero",
	[BENCH_PAGES_SKIPPED] = "pages_skipped",
	[BENCH_SOURCE_MEMORY] = "source_memory_bytes",
	[BENCH_DESTINATION_MEMORY] = "destination_memory_bytes",
	[BENCH_BARE_BYTES_PER_S] = "bare_bytes_per_s",
	[BENCH_BARE_SOURCE_CPU] = "bare_source_cpu_s_per_gib",
	[BENCH_BARE_DESTINATION_CPU] = "bare_destination_cpu_s_per_gib",
	[BENCH_MEMCPY_BYTES_PER_S] = "memcpy_bytes_per_s",
	[BENCH_AES_BYTES_PER_S] = "aes_128_gcm_bytes_per_s",
	[BENCH_SPEED_RATIO] = "speed_ratio",
	[BENCH_CPU_RATIO] = "cpu_ratio",
};

_Static_assert(sizeof(keys) / sizeof(*keys) == BENCH_FIGURES, "one key for each figure");

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

void bench_figures_relate(struct bench_figures *f)
{
	const double *of = f->of;

	f->of[BENCH_SPEED_RATIO] = ratio(of[BENCH_FIRST_BYTES_PER_S], of[BENCH_BARE_BYTES_PER_S]);
	f->of[BENCH_CPU_RATIO] = ratio(of[BENCH_BARE_SOURCE_CPU] + of[BENCH_BARE_DESTINATION_CPU],
				       of[BENCH_SOURCE_CPU] + of[BENCH_DESTINATION_CPU]);
}

struct bench_figures bench_figures_median(const struct bench_figures *runs, unsigned int count)
{
	struct bench_figures median = {0};
	double values[BENCH_TIMES_MAX];

	if (count > BENCH_TIMES_MAX)
		count = BENCH_TIMES_MAX;
	for (unsigned int i = 0; i < BENCH_FIGURES; i++) {
		for (unsigned int j = 0; j < count; j++)
			values[j] = runs[j].of[i];
		median.of[i] = bench_usage_median(values, count);
	}
	return median;
}

void bench_figures_json(const char *event, const struct bench_options *o,
			const struct bench_figures *f)
{
	_cleanup_json_ json_object *out = json_object_new_object();

	json_put_text(out, "event", event);
	json_put_text(out, "memory", bench_memory_name(o->memory));
	json_put_text(out, "pattern", bench_pattern_name(o->pattern));
	json_put_number(out, "data_bytes", o->data);
	json_put_number(out, "zero_bytes", o->zero);
	json_put_number(out, "rate_bytes_per_s", o->rate);
	json_put_number(out, "streams", o->streams);
	json_object_object_add(out, "tls", json_object_new_boolean(o->tls_dir != NULL));
	for (unsigned int i = 0; i < BENCH_FIGURES; i++)
		json_object_object_add(out, keys[i], json_object_new_double(f->of[i]));
	json_object_object_add(out, "verified", json_object_new_boolean(true));
	json_print(out);
}

static void print_guest(const struct bench_options *o)
{
	char data[SIZE_TEXT_SIZE], rate[SIZE_TEXT_SIZE];

	printf("guest        %s of %s memory, %s at %s/s; %u stream%s, %s\n",
	       size_text(o->data + o->zero, data), bench_memory_name(o->memory),
	       bench_pattern_name(o->pattern), size_text(o->rate, rate), o->streams,
	       o->streams == 1 ? "" : "s", o->tls_dir ? "TLS" : "plain");
}

void bench_figures_print(const struct bench_options *o, const struct bench_figures *f)
{
	char wire[SIZE_TEXT_SIZE], here[SIZE_TEXT_SIZE], there[SIZE_TEXT_SIZE];
	const double *of = f->of;

	print_guest(o);
	printf("first round  %.2f GB/s, %.2f of bare sockets (%.2f GB/s)\n",
	       of[BENCH_FIRST_BYTES_PER_S] / 1e9, of[BENCH_SPEED_RATIO],
	       of[BENCH_BARE_BYTES_PER_S] / 1e9);
	printf("total        %.3f s, %.0f rounds, %s over the wire\n", of[BENCH_TOTAL_S],
	       of[BENCH_ROUNDS], size_text((uint64_t)of[BENCH_WIRE_BYTES], wire));
	printf("stop         %.2f ms\n", of[BENCH_STOP_S] * 1e3);
	printf("CPU          %.3f s/GiB source, %.3f s/GiB destination; bare %.3f and %.3f: %.2f\n",
	       of[BENCH_SOURCE_CPU], of[BENCH_DESTINATION_CPU], of[BENCH_BARE_SOURCE_CPU],
	       of[BENCH_BARE_DESTINATION_CPU], of[BENCH_CPU_RATIO]);
	printf("memory       %s source, %s destination, without the guest's\n",
	       size_text((uint64_t)of[BENCH_SOURCE_MEMORY], here),
	       size_text((uint64_t)of[BENCH_DESTINATION_MEMORY], there));
	printf("pages        %.0f sent, %.0f zero or holes, %.0f written but unchanged\n",
	       of[BENCH_PAGES_SENT], of[BENCH_PAGES_ZERO], of[BENCH_PAGES_SKIPPED]);
	printf("one core     memcpy %.2f GB/s, AES-128-GCM %.2f GB/s\n",
	       of[BENCH_MEMCPY_BYTES_PER_S] / 1e9, of[BENCH_AES_BYTES_PER_S] / 1e9);
	printf("verified     the memory is equal on both ends\n");
}
