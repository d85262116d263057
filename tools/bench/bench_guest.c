// SPDX-License-Identifier: Apache-2.0
// A synthetic guest: a process of its own with RAM that it writes by a pattern, at a rate.
#include "bench_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "bench_ram.h"
#include "cleanup.h"
#include "clock.h"
#include "kernel_abi.h"

#define LOOK_US 50
#define TICK_US 1000

/* Shared with its maker. */
struct board {
	/* written by the guest before `ready`; seq_cst: no matter how fast */
	uint64_t address;
	int userfaultfd; /* its number there */
	int error;
	atomic_bool ready;
	atomic_bool run, stands; /* by the maker; by the guest: it has seen that it is not to run */
};

struct bench_guest {
	pid_t pid;
	int pidfd;
	struct board *board;
};

static void nap(uint64_t us)
{
	const struct timespec t = clock_timespec(us);

	nanosleep(&t, NULL);
}

/* ---- the guest's process ---- */

static int open_userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	_cleanup_close_ int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int map_and_fill(const struct bench_options *o, int fd, uint8_t **map)
{
	uint64_t size = o->data + o->zero;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, o->memory == BENCH_HUGE ? size : o->data, MADV_POPULATE_WRITE) < 0)
		return -errno;
	for (uint64_t at = 0; at < o->data; at += RAM_PAGE_SIZE)
		bench_pattern_fill(o->pattern, at >> RAM_PAGE_SHIFT, 0, p + at);
	*map = p;
	return 0;
}

struct life {
	struct bench_pattern pattern;
	uint8_t *map;
	uint64_t version, begun_us, done; /* pages, since then */
};

/* What is due by the clock; a guest that had no processor for long does not make up for it. */
static void write_pages(const struct bench_options *o, struct board *b, struct life *l)
{
	uint64_t most = o->rate / RAM_PAGE_SIZE / 20 + 1;
	uint64_t us = clock_monotonic_us() - l->begun_us;
	uint64_t due = (uint64_t)((unsigned __int128)us * o->rate / 1000000 / RAM_PAGE_SIZE);

	if (due > l->done + most)
		l->done = due - most;
	for (; l->done < due && atomic_load(&b->run); l->done++) {
		uint64_t page = bench_pattern_next(&l->pattern);

		bench_pattern_fill(o->pattern, page, ++l->version,
				   l->map + (page << RAM_PAGE_SHIFT));
	}
}

static void live(const struct bench_options *o, struct board *b, uint8_t *map)
{
	bool idle = o->pattern == BENCH_IDLE || o->rate == 0;
	struct life l = {.map = map};

	bench_pattern_init(&l.pattern, o->pattern, o->data >> RAM_PAGE_SHIFT);
	for (;;) {
		bool run = atomic_load(&b->run);

		atomic_store(&b->stands, !run);
		if (run && !l.begun_us)
			l.begun_us = clock_monotonic_us();
		if (run && !idle)
			write_pages(o, b, &l);
		nap(run ? TICK_US : LOOK_US);
	}
}

static void guest_main(const struct bench_options *o, struct board *b, int fd)
{
	uint8_t *map = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b->error = map_and_fill(o, fd, &map);
	if (b->error == 0) {
		b->address = (uintptr_t)map;
		b->userfaultfd = open_userfaultfd();
		b->error = b->userfaultfd < 0 ? b->userfaultfd : 0;
	}
	atomic_store(&b->ready, true);
	if (b->error == 0)
		live(o, b, map);
	_exit(1);
}

/* ---- its maker ---- */

static bool has_ended(const struct bench_guest *g)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)g->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == g->pid;
}

static int await(struct bench_guest *g, atomic_bool *flag)
{
	while (!atomic_load(flag)) {
		if (has_ended(g))
			return -ECHILD;
		nap(LOOK_US);
	}
	return 0;
}

static int start(struct bench_guest *g, const struct bench_options *o, int fd, struct errtext *err)
{
	int ret;

	g->pid = fork();
	if (g->pid < 0)
		return errtext_set(err, -errno, "no process for a guest: %s", strerror(errno));
	if (g->pid == 0)
		guest_main(o, g->board, fd);
	g->pidfd = (int)syscall(SYS_pidfd_open, g->pid, 0);
	ret = g->pidfd < 0 ? -errno : await(g, &g->board->ready);
	if (ret == 0)
		ret = g->board->error;
	return ret < 0 ? errtext_set(err, ret, "the guest cannot be made: %s%s", strerror(-ret),
				     ret == -ENOMEM && o->memory == BENCH_HUGE
					     ? " (enough huge pages? see vm.nr_hugepages)"
					     : "")
		       : 0;
}

/* Private memory has the guest's pidfd instead of a file. */
static int add_block(const struct bench_guest *g, const struct bench_options *o, int *fd,
		     struct ram_map *ram, struct errtext *err)
{
	struct ram_block block;
	int ret = 0;

	bench_ram_block(o, &block);
	block.qemu_addr = g->board->address;
	if (*fd < 0) {
		block.private_to = g->pid;
		block.fd = dup(g->pidfd);
		ret = block.fd < 0 ? -errno : 0;
	} else {
		block.fd = steal_fd(fd);
		ret = ram_block_map(&block, false, err);
	}
	if (ret == 0)
		ret = ram_map_add(ram, &block, err);
	if (ret < 0 && block.fd >= 0) {
		ram_block_unmap(&block);
		close(block.fd);
	}
	return ret;
}

int bench_guest_new(const struct bench_options *o, struct ram_map *ram, struct bench_guest **out,
		    struct errtext *err)
{
	struct bench_guest *g = calloc(1, sizeof(*g));
	_cleanup_close_ int fd = -1;
	int ret = 0;

	if (!g)
		return errtext_set(err, -ENOMEM, "out of memory");
	g->pidfd = -1;
	g->board = mmap(NULL, sizeof(*g->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (g->board == MAP_FAILED) {
		g->board = NULL;
		ret = errtext_set(err, -ENOMEM, "out of memory");
	}
	if (ret == 0 && o->memory != BENCH_PRIVATE)
		ret = bench_ram_file(o, &fd, err);
	if (ret == 0)
		ret = start(g, o, fd, err);
	if (ret == 0)
		ret = add_block(g, o, &fd, ram, err);
	if (ret < 0)
		bench_guest_destroy(g);
	else
		*out = g;
	return ret;
}

void bench_guest_destroy(struct bench_guest *g)
{
	if (!g)
		return;
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
	if (g->pidfd >= 0)
		close(g->pidfd);
	if (g->board)
		munmap(g->board, sizeof(*g->board));
	free(g);
}

int bench_guest_userfaultfd(const struct bench_guest *g, struct errtext *err)
{
	int fd = (int)syscall(SYS_pidfd_getfd, g->pidfd, g->board->userfaultfd, 0);

	return fd < 0 ? errtext_set(err, -errno, "the guest's userfaultfd cannot be had: %s",
				    strerror(errno))
		      : fd;
}

int bench_guest_pid(const struct bench_guest *g)
{
	return g->pid;
}

void bench_guest_run(struct bench_guest *g)
{
	atomic_store(&g->board->run, true);
	while (atomic_load(&g->board->stands) && !has_ended(g))
		nap(LOOK_US);
}

int bench_guest_stop(struct bench_guest *g)
{
	atomic_store(&g->board->run, false);
	return await(g, &g->board->stands);
}
