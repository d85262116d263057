// SPDX-License-Identifier: Apache-2.0
// A descriptor goes into a process that does not expect it: faults of the kernel on behalf of an
// unprivileged process reach us, and nothing else of it changes.
#include "borrow_fd.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include "attach.h"
#include "fault_service.h"

#define FEATURES UFFD_FEATURE_MISSING_SHMEM

static void start_unprivileged(struct victim *v, victim_role *role)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	victim_start(v, role);
	victim_wait_unprivileged(v);
}

static int attach(const struct victim *v, bool keep, int *inside)
{
	struct errtext err = {0};
	int fd = -1;
	int ret = attach_userfaultfd(v->pid, FEATURES, keep, &fd, inside, &err);

	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	return fd;
}

/* Its mappings but for the stack, which may grow. */
static void mappings(const struct victim *v, char *text, size_t size)
{
	char path[64], line[512];
	size_t len = 0;
	FILE *f;

	text[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/maps", v->pid);
	f = fopen(path, "r");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[stack]"))
			len += (size_t)snprintf(text + len, size - len, "%s", line);
		cr_assert_lt(len, size);
	}
	fclose(f);
}

/* ---- what it is for ---- */

Test(borrow_fd, fault_of_a_system_call_is_served)
{
	struct victim v;
	int uffd;

	start_unprivileged(&v, victim_obey_unprivileged);
	uffd = attach(&v, false, NULL);
	fault_watch(uffd, &v);
	fault_order(&v, 'k');
	fault_take(uffd, &v, 5);
	fault_answer(uffd, &v, 5);
	cr_assert_eq(fault_outcome(&v), 'y');
	cr_assert_eq(v.ram[5 * 4096 + 99], 0, "what the system call wrote");
	cr_assert_eq(v.ram[5 * 4096 + 100], 'Q', "what we placed");
	fault_order(&v, 'r');
	fault_take(uffd, &v, 7);
	fault_answer(uffd, &v, 7);
	cr_assert_eq(fault_outcome(&v), 'Q');
	close(uffd);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- nothing is left behind ---- */

static char maps_before[1 << 20], maps_after[1 << 20]; /* a sanitizer has many */

Test(borrow_fd, leaves_no_descriptor_and_no_mapping)
{
	char before[4096], after[4096];
	struct victim v;

	start_unprivileged(&v, victim_obey_unprivileged);
	victim_wait_syscall(&v, SYS_read);
	victim_descriptors(&v, before, sizeof(before));
	mappings(&v, maps_before, sizeof(maps_before));
	for (int i = 0; i < 20; i++)
		close(attach(&v, false, NULL));
	victim_descriptors(&v, after, sizeof(after));
	mappings(&v, maps_after, sizeof(maps_after));
	cr_assert_str_eq(after, before);
	cr_assert_str_eq(maps_after, maps_before);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_fd, leaves_the_kept_descriptor_only)
{
	char before[4096], after[4096], kept[64];
	struct victim v;
	int inside;

	start_unprivileged(&v, victim_obey_unprivileged);
	victim_descriptors(&v, before, sizeof(before));
	close(attach(&v, true, &inside));
	victim_descriptors(&v, after, sizeof(after));
	snprintf(kept, sizeof(kept), "%d anon_inode:[userfaultfd]\n", inside);
	cr_assert_eq(strlen(after), strlen(before) + strlen(kept), "%s", after);
	cr_assert_not_null(strstr(after, kept), "%s", after);
	cr_assert_eq(attach_close_inside(v.pid, inside, NULL), 0);
	victim_descriptors(&v, after, sizeof(after));
	cr_assert_str_eq(after, before);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* Poll with a pattern in the 2 KiB below the red zone, and compare it afterwards. */
static bool poll_above_pattern(struct pollfd *p)
{
	unsigned char same;

	__asm__ volatile("leaq -2176(%%rsp), %%rdi\n"
			 "movl $256, %%ecx\n"
			 "movq %[pattern], %%rax\n"
			 "rep stosq\n"
			 "movq %[p], %%rdi\n"
			 "movl $1, %%esi\n"
			 "movq $-1, %%rdx\n"
			 "movl $7, %%eax\n" /* poll */
			 "syscall\n"
			 "leaq -2176(%%rsp), %%rdi\n"
			 "movl $256, %%ecx\n"
			 "movq %[pattern], %%rax\n"
			 "repe scasq\n"
			 "sete %%al\n"
			 : "=&a"(same)
			 : [p] "r"(p), [pattern] "r"(0x5aa55aa55aa55aa5ul)
			 : "rcx", "rdx", "rsi", "rdi", "r11", "cc", "memory");
	return same;
}

static void poll_and_compare(struct victim *v)
{
	struct pollfd p = {.fd = v->to[0], .events = POLLIN};

	victim_drop_privileges(v);
	if (!poll_above_pattern(&p))
		victim_error(v, "the memory below its stack has changed", 0);
}

Test(borrow_fd, memory_below_the_stack_is_not_touched)
{
	struct victim v;

	start_unprivileged(&v, poll_and_compare);
	for (int i = 0; i < 20; i++) {
		victim_wait_syscall(&v, SYS_poll);
		close(attach(&v, false, NULL));
	}
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

/* ---- what can go wrong ---- */

/* Obeys, with the limit of descriptors that signal_sum says; signals tells which is in force. */
static void obey_with_limit(struct victim *v)
{
	int number = (int)atomic_load(&v->shared->signal_sum);
	struct rlimit limit;

	victim_drop_privileges(v);
	if (number > 0) {
		getrlimit(RLIMIT_NOFILE, &limit);
		limit.rlim_cur = (rlim_t)number;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			victim_error(v, "setrlimit", number);
		atomic_store(&v->shared->signals, number);
	}
	victim_obey(v);
}

/* Let it be able to open `spare` descriptors. */
static void limit_descriptors(struct victim *v, unsigned int spare)
{
	int number = 0;

	for (;; number++) {
		char path[64], link[8];

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", v->pid, number);
		if (readlink(path, link, sizeof(link)) < 0 && spare-- == 0)
			break;
	}
	atomic_store(&v->shared->signal_sum, number);
	cr_assert_eq(victim_order(v, 'n'), 'y');
	while (atomic_load(&v->shared->signals) != number && victim_lives(v))
		sched_yield();
}

/* A pair, the device: three at once is what it takes. */
Test(borrow_fd, a_process_with_too_many_descriptors)
{
	char before[4096], after[4096];
	struct victim v;
	int fd;

	start_unprivileged(&v, obey_with_limit);
	victim_descriptors(&v, before, sizeof(before));
	for (unsigned int spare = 0; spare < 3; spare++) {
		struct errtext err = {0};

		limit_descriptors(&v, spare);
		cr_assert_lt(attach_userfaultfd(v.pid, FEATURES, false, &fd, NULL, &err), 0);
		cr_assert_neq(err.text[0], '\0');
		victim_descriptors(&v, after, sizeof(after));
		cr_assert_str_eq(after, before, "%u spare: %s", spare, after);
	}
	limit_descriptors(&v, 3);
	close(attach(&v, false, NULL));
	victim_descriptors(&v, after, sizeof(after));
	cr_assert_str_eq(after, before);
	cr_assert(victim_end(&v), "%s", v.shared->what);
}

Test(borrow_fd, send_with_and_without)
{
	char got[4] = "";
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(fd_send(pair[0], "ab", 2, -1), 0);
	cr_assert_eq(fd_send(pair[0], "c", 1, pair[0]), 0);
	cr_assert_eq(fd_send(pair[0], "d", 1, 1000), -EBADF);
	cr_assert_eq(recv(pair[1], got, 2, 0), 2);
	cr_assert_str_eq(got, "ab");
	close(pair[1]);
	cr_assert_eq(fd_send(pair[0], "e", 1, -1), -EPIPE);
}
