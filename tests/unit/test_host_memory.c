// SPDX-License-Identifier: Apache-2.0
// What a guest could still get: of a root directory with such files as the kernel has.
#include "host_memory.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PID 17

TestSuite(host_memory, .timeout = 30);

struct host {
	char dir[64];
	int root;
};

static void put(const struct host *h, const char *path, const char *text)
{
	char whole[256];
	FILE *f;

	snprintf(whole, sizeof(whole), "%s%s", h->dir, path);
	for (char *slash = strchr(whole + strlen(h->dir) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		cr_assert(mkdir(whole, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	f = fopen(whole, "we");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static void setup(struct host *h)
{
	strcpy(h->dir, "/tmp/dray-test-XXXXXX");
	cr_assert_not_null(mkdtemp(h->dir));
	h->root = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(h->root, 0);
}

static void teardown(struct host *h)
{
	char command[128];

	close(h->root);
	snprintf(command, sizeof(command), "rm -r %s", h->dir);
	cr_assert_eq(system(command), 0);
}

static void expect(const struct host *h, pid_t pid, uint64_t free, const char *where)
{
	struct host_memory m;

	host_memory_look_below(h->root, pid, &m);
	cr_expect_eq(m.free, free, "%" PRIu64 " MiB of %s", m.free >> 20, m.where);
	cr_expect_str_eq(m.where, where);
}

Test(host_memory, the_machine_and_its_swap)
{
	struct host h;

	setup(&h);
	expect(&h, 0, UINT64_MAX, "this host");
	put(&h, "/proc/meminfo",
	    "MemTotal:       16384000 kB\nMemFree:             100 kB\n"
	    "MemAvailable:    1048576 kB\nSwapTotal:             0 kB\nSwapFree:              0 "
	    "kB\n");
	expect(&h, 0, 1024 * MIB, "this host");
	put(&h, "/proc/meminfo", "MemAvailable:    1048576 kB\nSwapFree:         524288 kB\n");
	expect(&h, 0, 1536 * MIB, "this host");
	expect(&h, PID, 1536 * MIB, "this host");
	teardown(&h);
}

static void put_group(const struct host *h, const char *max, const char *swap_max)
{
	put(h, "/sys/fs/cgroup/pods/one/memory.max", max);
	put(h, "/sys/fs/cgroup/pods/one/memory.current", "209715200\n");
	put(h, "/sys/fs/cgroup/pods/one/memory.stat",
	    "anon 104857600\nfile 104857600\nactive_anon 5\ninactive_file 20971520\n"
	    "active_file 10485760\n");
	put(h, "/sys/fs/cgroup/pods/one/memory.swap.max", swap_max);
	put(h, "/sys/fs/cgroup/pods/one/memory.swap.current", "0\n");
}

Test(host_memory, a_control_group_and_those_above_it)
{
	struct host h;

	setup(&h);
	put(&h, "/proc/meminfo", "MemAvailable:    1048576 kB\nSwapFree:         102400 kB\n");
	put(&h, "/proc/17/cgroup", "4:memory:/elsewhere\n0::/pods/one\n");
	put_group(&h, "max\n", "0\n");
	expect(&h, PID, 1124 * MIB, "this host");
	put_group(&h, "536870912\n", "0\n"); /* 512 MiB, 200 used, 30 of it page cache */
	expect(&h, PID, 342 * MIB, "control group /pods/one");
	expect(&h, 0, 1124 * MIB, "this host");
	put_group(&h, "536870912\n", "max\n");
	expect(&h, PID, 442 * MIB, "control group /pods/one");
	put_group(&h, "104857600\n", "0\n"); /* beyond it already */
	expect(&h, PID, 30 * MIB, "control group /pods/one");
	put_group(&h, "536870912\n", "0\n");
	put(&h, "/sys/fs/cgroup/pods/memory.max", "419430400\n");
	put(&h, "/sys/fs/cgroup/pods/memory.current", "314572800\n");
	put(&h, "/sys/fs/cgroup/pods/memory.swap.max", "0\n");
	put(&h, "/sys/fs/cgroup/pods/memory.swap.current", "0\n");
	expect(&h, PID, 100 * MIB, "control group /pods");
	teardown(&h);
}

/* In a container of our own, or with the older hierarchies alone. */
Test(host_memory, a_control_group_out_of_sight)
{
	struct host h;

	setup(&h);
	put(&h, "/proc/meminfo", "MemAvailable:    1048576 kB\nSwapFree: 0 kB\n");
	put(&h, "/sys/fs/cgroup/memory.max", "1\n");
	put(&h, "/sys/fs/cgroup/memory.current", "0\n");
	for (unsigned int i = 0; i < 4; i++) {
		static const char *const lines[] = {"0::/../one\n", "0::/..\n", "0::/\n",
						    "4:memory:/elsewhere\n"};

		put(&h, "/proc/17/cgroup", lines[i]);
		expect(&h, PID, 1024 * MIB, "this host");
	}
	teardown(&h);
}

Test(host_memory, of_this_host)
{
	struct host_memory m;

	host_memory_look("/nowhere/sock", &m);
	cr_assert_gt(m.free, 0);
	cr_assert_lt(m.free, 1ull << 50);
	cr_assert_str_eq(m.where, "this host");
}
