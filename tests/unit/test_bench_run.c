// SPDX-License-Identifier: Apache-2.0
// Whole benches on this host: every kind of memory, plain and by TLS, and what goes wrong.
#include "bench_run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ram_access.h"
#include "tls_files.h"
#include "tracker.h"
#include "uring_stream.h"

#define MIB (1ull << 20)
#define HUGE_PAGES 10 /* both ends' */

TestSuite(bench_run, .timeout = 120);

static unsigned long huge_pages_free(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long n = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "HugePages_Free: %lu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static void need(const struct bench_options *o)
{
#ifdef __SANITIZE_THREAD__
	cr_skip_test("its runtime ends a forked process that starts threads");
#endif
	if (tracker_supported(NULL) < 0 || uring_stream_supported(NULL) < 0)
		cr_skip_test("this kernel cannot track writes, or has no io_uring");
	if (o->memory == BENCH_HUGE && huge_pages_free() < HUGE_PAGES)
		cr_skip_test("there are no huge pages");
	ram_access_init();
}

static struct bench_options small(enum bench_memory memory, enum bench_pattern_kind pattern)
{
	return (struct bench_options){.memory = memory,
				      .pattern = pattern,
				      .data = 8 * MIB,
				      .zero = 2 * MIB,
				      .rate = 16 * MIB,
				      .streams = 2,
				      .times = 1,
				      .max_downtime_ms = 1000,
				      .json = true};
}

static void runs(const struct bench_options *o)
{
	struct errtext err = {0};

	need(o);
	cr_assert_eq(bench_run_here(o, &err), 0, "%s", err.text);
}

Test(bench_run, small_pages)
{
	const struct bench_options o = small(BENCH_SMALL, BENCH_UNIFORM);

	runs(&o);
}

Test(bench_run, huge_pages)
{
	const struct bench_options o = small(BENCH_HUGE, BENCH_ZIPF);

	runs(&o);
}

Test(bench_run, private_memory)
{
	const struct bench_options o = small(BENCH_PRIVATE, BENCH_SEQUENTIAL);

	runs(&o);
}

/* As people see it, several times, on one stream and on eight. */
Test(bench_run, one_stream_and_eight)
{
	struct bench_options o = small(BENCH_SMALL, BENCH_SILENT);

	o.streams = 1;
	o.times = 2;
	o.json = false;
	runs(&o);
	o.streams = BENCH_STREAMS_MAX;
	runs(&o);
}

Test(bench_run, by_tls)
{
	const struct tls_issue host = {"host", "IP:127.0.0.1", -DAY_S, DAY_S};
	struct bench_options o = small(BENCH_SMALL, BENCH_TEXT);
	struct tls_ca ca = tls_files_ca("a CA");
	char dir[] = "/tmp/dray-bench-XXXXXX";

	cr_assert(mkdtemp(dir));
	tls_files_put_ca(dir, &ca, NULL);
	X509_free(tls_files_put_host(dir, &ca, &host));
	o.tls_dir = dir;
	runs(&o);
}

Test(bench_run, memory_that_differs_is_an_error)
{
	const struct bench_options o = small(BENCH_SMALL, BENCH_IDLE);
	struct errtext err = {0};

	need(&o);
	setenv("DRAY_FAULT", "bench-compare=fail", 1);
	cr_assert_eq(bench_run_here(&o, &err), -EBADMSG, "%s", err.text);
	cr_assert(strstr(err.text, "differs"), "%s", err.text);
}

Test(bench_run, no_certificates)
{
	struct bench_options o = small(BENCH_SMALL, BENCH_IDLE);
	struct errtext err = {0};

	need(&o);
	o.tls_dir = "/nowhere";
	cr_assert_lt(bench_run_here(&o, &err), 0);
	cr_assert(strstr(err.text, "/nowhere"), "%s", err.text);
}

Test(bench_run, nobody_listens)
{
	const struct bench_options o = small(BENCH_SMALL, BENCH_IDLE);
	struct errtext err = {0};

	cr_assert_lt(bench_run_connect(&o, "127.0.0.1:1", &err), 0);
	cr_assert(strstr(err.text, "127.0.0.1"), "%s", err.text);
}
