// SPDX-License-Identifier: Apache-2.0
// The owed set: what is in it, what survives, and which files are refused.
#include "owed.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGES 512u /* in a huge page */

static struct ram_block blocks[] = {
	{.name = "dimm1", .size = 8u << 21, .page_size = 2u << 20, .fd = -1},
	{.name = "pc.ram", .size = 1000 * 4096, .page_size = 4096, .fd = -1},
};
static const struct ram_map ram = {.count = 2, .blocks = blocks};

struct fixture {
	char path[64];
	struct owed *owed;
};

static void setup(struct fixture *f)
{
	struct errtext err = {0};

	snprintf(f->path, sizeof(f->path), "/dev/shm/dray-test-owed.%d", getpid());
	cr_assert_eq(owed_create(f->path, &ram, &f->owed, &err), 0, "%s", err.text);
}

static void teardown(struct fixture *f)
{
	owed_close(f->owed);
	unlink(f->path);
}

static void reopen(struct fixture *f)
{
	struct errtext err = {0};

	owed_close(f->owed);
	f->owed = NULL;
	cr_assert_eq(owed_open(f->path, &ram, &f->owed, &err), 0, "%s", err.text);
}

Test(owed, small_pages_one_by_one)
{
	struct fixture f;

	setup(&f);
	cr_assert_eq(owed_unit(f.owed, 1), 1);
	cr_assert_eq(owed_left(f.owed), 0);
	cr_assert_eq(owed_set(f.owed, 1, 10, 100), 100);
	cr_assert_eq(owed_set(f.owed, 1, 109, 2), 1);
	cr_assert_eq(owed_left(f.owed), 101);
	cr_assert_eq(owed_clear(f.owed, 1, 0, 11), 1);
	cr_assert_eq(owed_clear(f.owed, 1, 50, 1), 1);
	cr_assert_eq(owed_clear(f.owed, 1, 50, 1), 0);
	cr_assert_eq(owed_left(f.owed), 99);
	cr_assert_not(owed_test(f.owed, 1, 10));
	cr_assert(owed_test(f.owed, 1, 11));
	cr_assert_eq(owed_next(f.owed, 1, 0, 1000), 11);
	cr_assert_eq(owed_next_clear(f.owed, 1, 11, 1000), 50);
	cr_assert_eq(owed_next(f.owed, 1, 50, 1000), 51);
	cr_assert_eq(owed_next(f.owed, 1, 111, 1000), 1000);
	cr_assert_eq(owed_next_clear(f.owed, 1, 60, 70), 70);
	cr_assert_eq(owed_next(f.owed, 0, 0, 4096), 4096, "another block");
	teardown(&f);
}

Test(owed, huge_pages_as_a_whole)
{
	struct fixture f;

	setup(&f);
	cr_assert_eq(owed_unit(f.owed, 0), HUGE_PAGES);
	cr_assert_eq(owed_set(f.owed, 0, HUGE_PAGES + 7, 1), HUGE_PAGES);
	cr_assert_eq(owed_set(f.owed, 0, 2 * HUGE_PAGES - 1, 2), HUGE_PAGES);
	cr_assert_eq(owed_left(f.owed), 2 * HUGE_PAGES);
	cr_assert(owed_test(f.owed, 0, HUGE_PAGES));
	cr_assert_not(owed_test(f.owed, 0, HUGE_PAGES - 1));
	cr_assert_eq(owed_next(f.owed, 0, 3, 4096), HUGE_PAGES);
	cr_assert_eq(owed_next(f.owed, 0, HUGE_PAGES + 100, 4096), HUGE_PAGES + 100);
	cr_assert_eq(owed_next_clear(f.owed, 0, HUGE_PAGES + 100, 4096), 3 * HUGE_PAGES);
	cr_assert_eq(owed_next_clear(f.owed, 0, HUGE_PAGES, HUGE_PAGES + 5), HUGE_PAGES + 5);
	cr_assert_eq(owed_next(f.owed, 0, 3 * HUGE_PAGES, 3 * HUGE_PAGES + 9), 3 * HUGE_PAGES + 9);
	cr_assert_eq(owed_clear(f.owed, 0, HUGE_PAGES, HUGE_PAGES - 1), 0, "not all of it");
	cr_assert_eq(owed_clear(f.owed, 0, HUGE_PAGES - 1, HUGE_PAGES + 2), HUGE_PAGES);
	cr_assert_eq(owed_clear(f.owed, 0, 0, 4096), HUGE_PAGES);
	cr_assert_eq(owed_left(f.owed), 0);
	teardown(&f);
}

Test(owed, the_file_keeps_it)
{
	struct fixture f;

	setup(&f);
	owed_set(f.owed, 0, HUGE_PAGES, 1);
	owed_set(f.owed, 1, 999, 1);
	owed_set(f.owed, 1, 63, 3);
	cr_assert_not(owed_sealed(f.owed));
	reopen(&f);
	cr_assert_not(owed_sealed(f.owed));
	cr_assert_eq(owed_left(f.owed), HUGE_PAGES + 4);
	owed_seal(f.owed);
	owed_clear(f.owed, 1, 64, 1);
	reopen(&f);
	cr_assert(owed_sealed(f.owed));
	cr_assert_eq(owed_left(f.owed), HUGE_PAGES + 3);
	cr_assert(owed_test(f.owed, 1, 999));
	cr_assert(owed_test(f.owed, 1, 63));
	cr_assert_not(owed_test(f.owed, 1, 64));
	cr_assert(owed_test(f.owed, 0, HUGE_PAGES));
	teardown(&f);
}

Test(owed, a_new_one_replaces_the_old)
{
	struct errtext err = {0};
	struct fixture f;

	setup(&f);
	owed_set(f.owed, 1, 5, 5);
	owed_seal(f.owed);
	owed_close(f.owed);
	cr_assert_eq(owed_create(f.path, &ram, &f.owed, &err), 0, "%s", err.text);
	cr_assert_eq(owed_left(f.owed), 0);
	cr_assert_not(owed_sealed(f.owed));
	teardown(&f);
}

Test(owed, errors_name_the_file)
{
	struct errtext err = {0};
	struct owed *o;

	cr_assert_eq(owed_open("/nonexistent/owed", &ram, &o, &err), -ENOENT);
	cr_assert(strstr(err.text, "/nonexistent/owed"), "%s", err.text);
	err = (struct errtext){0};
	cr_assert_eq(owed_create("/nonexistent/owed", &ram, &o, &err), -ENOENT);
	cr_assert(strstr(err.text, "/nonexistent/owed"), "%s", err.text);
}

Test(owed, no_room_is_said_at_once)
{
	const struct rlimit limit = {4096, 4096};
	struct errtext err = {0};
	struct owed *o;
	char path[64];

	signal(SIGXFSZ, SIG_IGN);
	snprintf(path, sizeof(path), "/dev/shm/dray-test-owed.%d", getpid());
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_lt(owed_create(path, &ram, &o, &err), 0);
	cr_assert(strstr(err.text, "no room"), "%s", err.text);
	unlink(path);
}

Test(owed, pages_that_take_too_long_are_refused)
{
	struct ram_block giant = {.name = "g", .size = 1u << 30, .page_size = 1u << 30, .fd = -1};
	const struct ram_map map = {.count = 1, .blocks = &giant};
	struct errtext err = {0};
	struct owed *o;

	cr_assert_eq(owed_create("/dev/shm/dray-test-owed", &map, &o, &err), -ENOTSUP);
	cr_assert(strstr(err.text, "RAM block g: its pages of 1024 MiB"), "%s", err.text);
}

/* ---- files that are not what they should be ---- */

/* Bytes of a good file overwritten. Header 24 bytes, blocks of 144: name 0, size 128, page size
 * 136; bitmaps from 4096: 8 bytes for dimm1, whose 8 pages are one byte, then pc.ram's. */
struct patch {
	long offset;
	unsigned int width;
	uint64_t value;
	char says[48]; /* empty: accepted */
};

static struct patch patches[] = {
	{0, 1, 0, "never finished"},
	{0, 8, 0, "never finished"},
	{8, 4, 2, "another version"},
	{12, 4, 1, "another number of RAM blocks"},
	{12, 4, UINT32_MAX, "another number of RAM blocks"},
	{24, 1, 'D', "other RAM blocks"},
	{24 + 5, 1, 'x', "other RAM blocks"},
	{24 + 128, 8, 9u << 21, "other RAM blocks"},
	{24 + 136, 4, 4096, "other RAM blocks"},
	{24 + 144 + 136, 4, 2u << 20, "other RAM blocks"},
	{4096, 1, 0xff, ""},
	{4096 + 8, 8, UINT64_MAX, ""},
	{4096 + 1, 1, 1, "beyond the end of a RAM block"},
	{4096 + 7, 1, 0x80, "beyond the end of a RAM block"},
	{4096 + 8 + 124, 1, 0xff, ""},
	{4096 + 8 + 125, 1, 1, "beyond the end of a RAM block"},
	{4096 + 8 + 127, 1, 0x80, "beyond the end of a RAM block"},
	{4095, 1, 0xff, ""}, /* unused */
};

ParameterizedTestParameters(owed, a_damaged_file_is_refused)
{
	return cr_make_param_array(struct patch, patches, sizeof(patches) / sizeof(patches[0]));
}

ParameterizedTest(struct patch *p, owed, a_damaged_file_is_refused)
{
	struct errtext err = {0};
	struct fixture f;
	int fd, ret;

	setup(&f);
	owed_close(f.owed);
	f.owed = NULL;
	fd = open(f.path, O_RDWR);
	cr_assert_eq(pwrite(fd, &p->value, p->width, p->offset), p->width);
	close(fd);
	ret = owed_open(f.path, &ram, &f.owed, &err);
	cr_assert_eq(ret, p->says[0] ? -EINVAL : 0, "%d: %s", ret, err.text);
	cr_assert(strstr(err.text, p->says), "%s", err.text);
	teardown(&f);
}

static long resizes[] = {-1, 1, -4096, 4096, -100000};

ParameterizedTestParameters(owed, another_size_is_refused)
{
	return cr_make_param_array(long, resizes, sizeof(resizes) / sizeof(resizes[0]));
}

ParameterizedTest(long *by, owed, another_size_is_refused)
{
	struct errtext err = {0};
	struct fixture f;
	struct stat st;
	long size;

	setup(&f);
	owed_close(f.owed);
	f.owed = NULL;
	cr_assert_eq(stat(f.path, &st), 0);
	size = st.st_size + *by;
	cr_assert_eq(truncate(f.path, size > 0 ? size : 0), 0);
	cr_assert_eq(owed_open(f.path, &ram, &f.owed, &err), -EINVAL);
	cr_assert(strstr(err.text, "not of the size"), "%s", err.text);
	teardown(&f);
}
