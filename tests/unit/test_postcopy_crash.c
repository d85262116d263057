// SPDX-License-Identifier: Apache-2.0
// dray at the destination is killed (-9) in the midst of post-copy, again and again. The guest is a
// process of its own, which keeps the userfaultfd open as QEMU does: it waits, and never reads
// zeroes for a page that has not come.
#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "postcopy.h"

#define PAGES 4000u
#define KILLS 5

TestSuite(postcopy_crash, .timeout = 60);

struct shared {
	atomic_int uffd; /* its number in the guest, -1 before */
	atomic_int go, done;
	atomic_uint touched;
	pid_t guest;
};

/* A child that does not outlive this process. */
static pid_t spawn(void (*run)(struct postcopy *p, struct shared *s), struct postcopy *p,
		   struct shared *s)
{
	pid_t parent = getpid(), pid = fork();

	cr_assert_geq(pid, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		run(p, s);
	_exit(99);
}

/* Its exit status is the number of wrong pages, up to 50. */
static void run_guest(struct postcopy *p, struct shared *s)
{
	struct uffdio_api api = {.api = UFFD_API, .features = MISSING_FEATURES};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), wrong = 0;
	uint64_t state = 88172645463325252u;
	uint8_t content[RAM_PAGE_SIZE];

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		_exit(77);
	atomic_store(&s->uffd, fd);
	while (!atomic_load(&s->go))
		sched_yield();
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t page = guest_random(&state) % PAGES;

		guest_fill(content, page + 1);
		wrong += memcmp(guest_page(&p->to.blocks[0], page), content, RAM_PAGE_SIZE) != 0;
		atomic_fetch_add(&s->touched, 1);
	}
	while (!atomic_load(&s->done))
		sched_yield();
	_exit(wrong < 50 ? wrong : 50);
}

static int fetch_userfaultfd(const struct shared *s)
{
	int pidfd = (int)syscall(SYS_pidfd_open, s->guest, 0);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, atomic_load(&s->uffd), 0);

	close(pidfd);
	return fd;
}

static void take_over(struct postcopy *p, struct shared *s)
{
	struct errtext err = {0};

	destination_destroy(p->destination);
	owed_close(p->owed);
	p->uffd = fetch_userfaultfd(s);
	if (p->uffd < 0 || owed_open(p->path, &p->to, &p->owed, &err) < 0 ||
	    missing_register(p->uffd, &p->to, false, &err) < 0)
		_exit(90);
	owed_seal(p->owed);
	postcopy_start_destination(p, true);
	postcopy_resume(p);
	atomic_store(&s->go, 1);
}

/* Only by fault, until killed. */
static void run_victim(struct postcopy *p, struct shared *s)
{
	take_over(p, s);
	p->push_links = 0;
	postcopy_connect(p);
	for (;;)
		pause();
}

static void run_to_the_end(struct postcopy *p, struct shared *s)
{
	take_over(p, s);
	postcopy_connect(p);
	postcopy_await_complete(p);
	postcopy_end(p);
	atomic_store(&s->done, 1);
	_exit(0);
}

static int status_of(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void kill_some(struct postcopy *p, struct shared *s)
{
	for (unsigned int i = 0; i < KILLS; i++) {
		unsigned int until = atomic_load(&s->touched) + 50;
		pid_t victim = spawn(run_victim, p, s);

		while (atomic_load(&s->touched) < until)
			sched_yield();
		kill(victim, SIGKILL);
		cr_assert_eq(status_of(victim), -SIGKILL);
	}
}

Test(postcopy_crash, the_guest_waits_for_whoever_comes_next)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct postcopy p;
	pid_t last;

#ifdef __SANITIZE_THREAD__
	cr_skip_test("ThreadSanitizer does not follow threads of forked processes");
#endif
	close(postcopy_userfaultfd(MISSING_FEATURES)); /* skips where there is none */
	postcopy_init(&p, PAGES, RAM_PAGE_SIZE);
	postcopy_owe(&p, 0, PAGES);
	atomic_store(&s->uffd, -1);
	s->guest = spawn(run_guest, &p, s);
	while (atomic_load(&s->uffd) < 0)
		sched_yield();
	kill_some(&p, s);
	last = spawn(run_to_the_end, &p, s);
	cr_assert_eq(status_of(last), 0);
	cr_assert_eq(status_of(s->guest), 0);
	postcopy_free(&p);
}
