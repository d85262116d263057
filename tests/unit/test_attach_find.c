// SPDX-License-Identifier: Apache-2.0
// After a crash: the userfaultfd that stayed inside is found, and no fault is lost.
#include "attach.h"

#include "fault_service.h"

#define FEATURES                                                                                   \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |                             \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

static void start(struct victim *v)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	victim_start(v, victim_obey_unprivileged);
	victim_wait_unprivileged(v);
}

static int attach_keeping(const struct victim *v, int *inside)
{
	struct errtext err = {0};
	int fd = -1;
	int ret = attach_userfaultfd(v->pid, FEATURES, true, &fd, inside, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	return fd;
}

static int find(const struct victim *v, int expected)
{
	struct errtext err = {0};
	int fd = -1, inside = -1;
	int ret = attach_find_inside(v->pid, &fd, &inside, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	cr_assert_eq(inside, expected);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return fd;
}

static void wake_all(int uffd, const struct victim *v)
{
	struct uffdio_range range = {.start = (uintptr_t)v->ram, .len = VICTIM_PAGES * 4096};

	cr_assert_eq(ioctl(uffd, UFFDIO_WAKE, &range), 0, "%s", strerror(errno));
}

/* The fault was taken by somebody who died with it. */
static void crash_and_carry_on(struct victim *v, char order, unsigned int page)
{
	int inside, uffd = attach_keeping(v, &inside);

	fault_watch(uffd, v);
	fault_order(v, order);
	fault_take(uffd, v, page);
	close(uffd);

	uffd = find(v, inside);
	wake_all(uffd, v);
	fault_take(uffd, v, page);
	fault_answer(uffd, v, page);
	cr_assert_eq(fault_outcome(v), order == 'k' ? 'y' : 'Q');
	close(uffd);
	cr_assert_eq(attach_close_inside(v->pid, inside, NULL), 0);
	cr_assert_eq(victim_userfaultfds(v, NULL), 0);
	cr_assert(victim_end(v), "%s", v->shared->what);
}

Test(attach_find, a_fault_of_the_program_is_delivered_anew)
{
	struct victim v;

	start(&v);
	crash_and_carry_on(&v, 'r', 7);
}

Test(attach_find, a_fault_of_the_kernel_is_delivered_anew)
{
	struct victim v;

	start(&v);
	crash_and_carry_on(&v, 'k', 5);
}

/* ---- which one ---- */

static void watch_writes_too(int uffd, const struct victim *v)
{
	struct uffdio_register reg = {.range = {(uintptr_t)v->ram, VICTIM_PAGES * 4096},
				      .mode = UFFDIO_REGISTER_MODE_MISSING |
					      UFFDIO_REGISTER_MODE_WP};

	cr_assert_eq(ioctl(uffd, UFFDIO_REGISTER, &reg), 0, "%s", strerror(errno));
}

static unsigned int mappings_watched_for_writes(const struct victim *v)
{
	char path[32], line[512];
	unsigned int count = 0;
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/smaps", v->pid);
	smaps = fopen(path, "re");
	cr_assert_not_null(smaps);
	while (fgets(line, sizeof(line), smaps))
		count += strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " um") &&
			 strstr(line, " uw");
	fclose(smaps);
	return count;
}

static void find_among_two(unsigned int registered, bool writes_too)
{
	struct victim v;
	int inside[2], uffd[2], found;

	start(&v);
	for (int i = 0; i < 2; i++)
		uffd[i] = attach_keeping(&v, &inside[i]);
	fault_watch(uffd[registered], &v);
	if (writes_too)
		watch_writes_too(uffd[registered], &v);
	close(uffd[0]);
	close(uffd[1]);
	found = find(&v, inside[registered]);
	cr_assert_eq(mappings_watched_for_writes(&v), writes_too);
	fault_order(&v, 'r');
	fault_take(found, &v, 7);
	fault_answer(found, &v, 7);
	cr_assert_eq(fault_outcome(&v), 'Q');
	close(found);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(attach_close_inside(v.pid, inside[i], NULL), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(attach_find, the_first_of_two)
{
	find_among_two(0, false);
}

Test(attach_find, the_second_of_two)
{
	find_among_two(1, false);
}

/* As with --verify. To ask must not take a registration away. */
Test(attach_find, the_second_of_two_watches_writes_too)
{
	find_among_two(1, true);
}

Test(attach_find, two_without_registration_are_not_told_apart)
{
	struct errtext err = {0};
	struct victim v;
	int inside[2], fd;

	start(&v);
	for (int i = 0; i < 2; i++)
		close(attach_keeping(&v, &inside[i]));
	cr_assert_eq(attach_find_inside(v.pid, &fd, &inside[0], &err), -EEXIST);
	cr_assert_not_null(strstr(err.text, "2 userfaultfds"), "%s", err.text);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- none ---- */

Test(attach_find, none_is_open)
{
	struct errtext err = {0};
	struct victim v;
	int fd, inside;

	start(&v);
	cr_assert_eq(attach_find_inside(v.pid, &fd, &inside, &err), -ENOENT);
	cr_assert_neq(err.text[0], '\0');
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(attach_find, no_such_process)
{
	struct errtext err = {0};
	pid_t pid = fork();
	int fd, inside;

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	cr_assert_eq(attach_find_inside(pid, &fd, &inside, &err), -ESRCH);
	cr_assert_neq(err.text[0], '\0');
}
