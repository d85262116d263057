// SPDX-License-Identifier: Apache-2.0
// A process to be attached to, which notices whatever is done to it: each role is a system call, or
// a computation, that its main thread repeats and checks.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VICTIM_PAGES 16

struct victim_shared {
	atomic_int ready;
	atomic_int stop;
	atomic_int rounds;
	atomic_int errors;
	atomic_int word; /* futex */
	atomic_int signals;
	atomic_long signal_sum;
	char what[128]; /* the first error */
};

struct victim {
	pid_t pid;
	struct victim_shared *shared;
	int to[2];   /* pipe to it */
	int from[2]; /* pipe from it */
	char *ram;   /* VICTIM_PAGES, at the same address in both */
};

typedef void victim_role(struct victim *v);

static inline void victim_error(struct victim *v, const char *what, long value)
{
	if (atomic_fetch_add(&v->shared->errors, 1) == 0)
		snprintf(v->shared->what, sizeof(v->shared->what), "%s: %ld, errno %d", what, value,
			 errno);
}

static inline int64_t victim_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void victim_start(struct victim *v, victim_role *role)
{
	pid_t parent = getpid();

	v->shared = mmap(NULL, sizeof(*v->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	v->ram = mmap(NULL, VICTIM_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (v->shared == MAP_FAILED || v->ram == MAP_FAILED || pipe(v->to) < 0 || pipe(v->from) < 0)
		abort();
	v->pid = fork();
	if (v->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		atomic_store(&v->shared->ready, 1);
		while (!atomic_load(&v->shared->stop)) {
			role(v);
			atomic_fetch_add(&v->shared->rounds, 1);
		}
		_exit(0);
	}
	while (!atomic_load(&v->shared->ready))
		sched_yield();
}

/* What /proc shows as its main thread's system call: "7", "running", ... */
static inline void victim_syscall(const struct victim *v, char name[16])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/syscall", v->pid);
	name[0] = '\0';
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%15s", name) != 1)
			name[0] = '\0';
		fclose(f);
	}
}

static inline bool victim_lives(const struct victim *v)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)v->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

/* Wait until it is in system call nr, or in one that the kernel has restarted. */
static inline void victim_wait_syscall(const struct victim *v, int nr)
{
	char name[16];
	int now;

	do {
		sched_yield();
		victim_syscall(v, name);
		now = name[0] >= '0' && name[0] <= '9' ? atoi(name) : -1;
	} while (now != nr && now != SYS_restart_syscall && victim_lives(v));
}

/* Let it end its round and exit. True if nothing disturbed it. */
static inline bool victim_end(struct victim *v)
{
	int status;

	atomic_store(&v->shared->stop, 1);
	atomic_store(&v->shared->word, 1);
	syscall(SYS_futex, &v->shared->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	if (write(v->to[1], "x", 1) != 1)
		abort();
	waitpid(v->pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		victim_error(v, "it died, status", status);
	return atomic_load(&v->shared->errors) == 0;
}

/* Userfaultfds open in it; the last one's number in *number. */
static inline int victim_userfaultfds(const struct victim *v, int *number)
{
	char path[300], link[64];
	int count = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", v->pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((e = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", v->pid, e->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = '\0';
		if (!strcmp(link, "anon_inode:[userfaultfd]")) {
			count++;
			if (number)
				*number = atoi(e->d_name);
		}
	}
	closedir(dir);
	return count;
}

/* All that it has open: "0 /dev/null\n3 pipe:[77]\n..." */
static inline void victim_descriptors(const struct victim *v, char *text, size_t size)
{
	size_t len = 0;

	text[0] = '\0';
	for (int fd = 0; fd < 256; fd++) {
		char path[64], link[128];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", v->pid, fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		len += (size_t)snprintf(text + len, size - len, "%d %s\n", fd, link);
		if (len >= size)
			abort();
	}
}

/* Become nobody, without capabilities, as a QEMU under libvirt is; that makes it undumpable too. */
static inline void victim_drop_privileges(struct victim *v)
{
	if (geteuid() != 0)
		return;
	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
	    prctl(PR_GET_DUMPABLE) == 1)
		victim_error(v, "setresuid", 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten by setresuid */
	atomic_store(&v->shared->word, 1);
}

/* Threads of it that somebody traces. */
static inline int victim_tracer(const struct victim *v)
{
	char path[64], line[256];
	int tracer = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", v->pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	}
	if (f)
		fclose(f);
	return tracer;
}

/* ---- roles ---- */

#define VICTIM_NAP_US 200000
#define VICTIM_LATE_US 1000000 /* far beyond what a busy machine may add */

static inline void victim_check_nap(struct victim *v, const char *what, int ret, int64_t began)
{
	int64_t took = victim_now_us() - began;

	if (ret != 0)
		victim_error(v, what, ret);
	else if (took < VICTIM_NAP_US || took > VICTIM_NAP_US + VICTIM_LATE_US)
		victim_error(v, what, (long)took);
}

static inline void victim_poll(struct victim *v)
{
	struct pollfd p = {.fd = v->to[0], .events = POLLIN};
	int ret = poll(&p, 1, -1);

	if (ret != 1)
		victim_error(v, "poll", ret);
}

static inline void victim_poll_nap(struct victim *v)
{
	int64_t began = victim_now_us();

	victim_check_nap(v, "poll with a timeout", poll(NULL, 0, VICTIM_NAP_US / 1000), began);
}

static inline void victim_ppoll_nap(struct victim *v)
{
	struct timespec t = {.tv_nsec = VICTIM_NAP_US * 1000};
	int64_t began = victim_now_us();
	sigset_t mask, before, after;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	victim_check_nap(v, "ppoll with a mask", ppoll(NULL, 0, &t, &mask), began);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	if (memcmp(&before, &after, 8) != 0)
		victim_error(v, "ppoll: the signal mask has changed", 0);
}

static inline void victim_nanosleep(struct victim *v)
{
	struct timespec t = {.tv_nsec = VICTIM_NAP_US * 1000};
	int64_t began = victim_now_us();

	victim_check_nap(v, "nanosleep", nanosleep(&t, NULL), began);
}

static inline void victim_futex(struct victim *v)
{
	long ret = syscall(SYS_futex, &v->shared->word, FUTEX_WAIT, 0, NULL, NULL, 0);

	if (ret != 0 && errno != EAGAIN)
		victim_error(v, "futex", ret);
}

static inline void victim_read(struct victim *v)
{
	char c;
	ssize_t n = read(v->to[0], &c, 1);

	if (n != 1)
		victim_error(v, "read", n);
}

/* Many live registers, integer and floating point. */
static inline uint64_t victim_compute(unsigned int turns)
{
	uint64_t a = 1, b = 2, c = 3, d = 5, e = 7, f = 11, g = 13, h = 17;
	double x = 1.0, y = 0.5, z = 0.25;

	for (unsigned int i = 0; i < turns; i++) {
		a = a * 6364136223846793005u + b;
		b ^= a >> 7;
		c += b * 3;
		d = (d << 5 | d >> 59) ^ c;
		e -= d;
		f = f * 31 + e;
		g ^= f;
		h += g >> 3;
		x = x * 1.0000001 + y;
		y = y * 0.9999999 + z;
		z = -z;
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)(int64_t)(x * 1000 + y * 1000);
}

static inline void victim_spin(struct victim *v)
{
	static uint64_t expected;
	uint64_t got = victim_compute(20000);

	if (expected == 0)
		expected = got;
	else if (got != expected)
		victim_error(v, "the computation has another result", (long)got);
}

/* A long restartable sequence. When somebody takes the thread in its midst, it must be aborted: to
 * go on, after the kernel has cancelled it (rseq_cs is 0), would be to work on another CPU's data.
 */
static inline void victim_rseq(struct victim *v)
{
	struct rseq *r = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	uint64_t cs_at_end = 1;

	__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n"
			 ".balign 32\n"
			 "3: .long 0, 0\n"
			 ".quad 1f, 2f - 1f, 4f\n"
			 ".popsection\n"
			 "lea 3b(%%rip), %%rax\n"
			 "movq %%rax, %[cs]\n"
			 "1: movl $2000000, %%ecx\n"
			 "5: decl %%ecx\n"
			 "jnz 5b\n"
			 "movq %[cs], %[end]\n"
			 "2: jmp 4f\n"
			 ".byte 0x0f, 0xb9, 0x3d\n"
			 ".long 0x53053053\n" /* the signature that glibc registers */
			 "4:\n"
			 : [end] "+r"(cs_at_end), [cs] "+m"(r->rseq_cs)
			 :
			 : "rax", "rcx", "cc", "memory");
	if (cs_at_end == 0)
		victim_error(v, "a cancelled sequence went on", 0);
}

/* Takes orders from a pipe: 'w' writes page 3, 'k' lets the kernel write page 5, 'r' reads page 7.
 */
static inline void victim_obey(struct victim *v)
{
	char order = 0, answer = 'y';
	ssize_t n = read(v->to[0], &order, 1);
	int zero;

	if (n != 1)
		victim_error(v, "read", n);
	if (order == 'w') {
		v->ram[3 * 4096 + 1] = 42;
	} else if (order == 'k') {
		zero = open("/dev/zero", O_RDONLY);
		if (read(zero, v->ram + 5 * 4096, 100) != 100)
			answer = 'n';
		close(zero);
	} else if (order == 'r') {
		answer = v->ram[7 * 4096];
	}
	if (write(v->from[1], &answer, 1) != 1)
		victim_error(v, "write", 0);
}

static inline char victim_order(struct victim *v, char order)
{
	char answer = 0;

	if (write(v->to[1], &order, 1) != 1 || read(v->from[0], &answer, 1) != 1)
		abort();
	return answer;
}

static inline void victim_obey_unprivileged(struct victim *v)
{
	victim_drop_privileges(v);
	victim_obey(v);
}

static inline void victim_wait_unprivileged(const struct victim *v)
{
	while (!atomic_load(&v->shared->word) && victim_lives(v))
		sched_yield();
}
