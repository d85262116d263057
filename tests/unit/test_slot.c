// SPDX-License-Identifier: Apache-2.0
// Slots: first in, first out, between threads and between processes that may be killed.
#include "slot.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS 20

TestSuite(slot, .timeout = 60);

struct fixture {
	char root[32], dir[64];
};

static void setup(struct fixture *f)
{
	strcpy(f->root, "/tmp/dray-slot-XXXXXX");
	cr_assert_not_null(mkdtemp(f->root));
	snprintf(f->dir, sizeof(f->dir), "%s/run/outbound", f->root);
}

static void teardown(struct fixture *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/lock", f->dir);
	unlink(path);
	cr_expect_eq(rmdir(f->dir), 0, "%s: a ticket was left: %s", f->dir, strerror(errno));
	snprintf(path, sizeof(path), "%s/run", f->root);
	rmdir(path);
	rmdir(f->root);
}

static struct slot *join(const struct fixture *f)
{
	struct errtext err = {0};
	struct slot *s = NULL;

	cr_assert_eq(slot_join(f->dir, &s, &err), 0, "%s", err.text);
	return s;
}

static unsigned int ahead_of(struct slot *s)
{
	unsigned int ahead = 12345;

	cr_assert_eq(slot_ahead(s, &ahead), 0);
	return ahead;
}

Test(slot, directories_have_their_modes_whatever_the_umask)
{
	struct fixture f;
	struct slot *s;
	struct stat st;
	char parent[64];

	umask(077);
	setup(&f);
	s = join(&f);
	snprintf(parent, sizeof(parent), "%s/run", f.root);
	cr_assert_eq(stat(parent, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0711);
	cr_assert_eq(stat(f.dir, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	slot_leave(s);
	teardown(&f);
}

Test(slot, first_in_first_out)
{
	struct slot *a, *b, *c, *d;
	struct fixture f;

	setup(&f);
	a = join(&f);
	b = join(&f);
	c = join(&f);
	cr_assert_eq(ahead_of(c), 2);
	cr_assert_eq(ahead_of(a), 0);
	cr_assert_eq(ahead_of(b), 1);
	slot_leave(a);
	cr_assert_eq(ahead_of(b), 0);
	d = join(&f);
	cr_assert_eq(ahead_of(d), 2, "a newcomer is behind all, not in the place of the first");
	slot_leave(b);
	slot_leave(c);
	cr_assert_eq(ahead_of(d), 0);
	slot_leave(d);
	slot_leave(NULL);
	teardown(&f);
}

Test(slot, directories_do_not_know_each_other)
{
	struct fixture f, g;
	struct slot *a, *b;

	setup(&f);
	setup(&g);
	a = join(&f);
	b = join(&g);
	cr_assert_eq(ahead_of(a), 0);
	cr_assert_eq(ahead_of(b), 0);
	slot_leave(a);
	slot_leave(b);
	teardown(&f);
	teardown(&g);
}

static bool exists(const struct fixture *f, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return access(path, F_OK) == 0;
}

static void put_file(const struct fixture *f, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
}

Test(slot, tickets_of_the_dead_are_removed_and_other_files_left_alone)
{
	static const char *const others[] = {"note", "000000001", "00000000001", "000000000x"};
	struct slot *a, *b;
	struct fixture f;

	setup(&f);
	a = join(&f);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		put_file(&f, others[i]);
	put_file(&f, "0000000000");
	put_file(&f, "0000000007");
	cr_assert_eq(ahead_of(a), 0);
	cr_assert_not(exists(&f, "0000000000"));
	cr_assert(exists(&f, "0000000007"), "not ahead");
	b = join(&f);
	cr_assert_not(exists(&f, "0000000007"));
	cr_assert(exists(&f, "0000000002"), "numbers go on from the last living one");
	cr_assert_eq(ahead_of(b), 1);
	slot_leave(a);
	slot_leave(b);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", f.dir, others[i]);
		cr_assert_eq(unlink(path), 0, "%s", others[i]);
	}
	teardown(&f);
}

Test(slot, no_number_is_left)
{
	struct errtext err = {0};
	struct slot *a, *b = NULL;
	struct fixture f;
	char path[128];
	int fd;

	setup(&f);
	a = join(&f);
	slot_leave(a);
	put_file(&f, "9999999999");
	snprintf(path, sizeof(path), "%s/9999999999", f.dir);
	fd = open(path, O_RDONLY);
	cr_assert_eq(flock(fd, LOCK_EX), 0);
	cr_assert_eq(slot_join(f.dir, &b, &err), -EOVERFLOW);
	cr_assert(strstr(err.text, f.dir), "%s", err.text);
	close(fd);
	b = join(&f);
	slot_leave(b);
	teardown(&f);
}

Test(slot, what_is_in_the_way_is_named)
{
	struct errtext err = {0};
	struct slot *s = NULL;
	struct fixture f;
	char path[64];

	setup(&f);
	snprintf(path, sizeof(path), "%s/run", f.root);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	cr_assert_eq(slot_join(f.dir, &s, &err), -ENOTDIR);
	cr_assert(strstr(err.text, f.dir), "%s", err.text);
	cr_assert_null(s);
	unlink(path);
	rmdir(f.root);
}

/* ---- processes ---- */

struct child {
	pid_t pid;
	int told; /* a byte comes when it has joined */
};

/* A migration that joins, says so, and then hangs. */
static struct child start_child(const struct fixture *f)
{
	struct child c;
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	c.pid = fork();
	cr_assert_geq(c.pid, 0);
	if (c.pid == 0) {
		struct slot *s;

		if (slot_join(f->dir, &s, NULL) < 0 || write(ends[1], "j", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	c.told = ends[0];
	return c;
}

static void await_joined(const struct child *c)
{
	char byte;

	cr_assert_eq(read(c->told, &byte, 1), 1);
}

static void kill_child(struct child *c)
{
	cr_assert_eq(kill(c->pid, SIGKILL), 0);
	cr_assert_eq(waitpid(c->pid, NULL, 0), c->pid);
	close(c->told);
}

Test(slot, a_crash_frees_the_slot)
{
	struct child first, second;
	struct fixture f;
	struct slot *s;

	setup(&f);
	first = start_child(&f);
	await_joined(&first);
	second = start_child(&f);
	await_joined(&second);
	s = join(&f);
	cr_assert_eq(ahead_of(s), 2);
	kill_child(&second);
	cr_assert_eq(ahead_of(s), 1, "killed while it waited");
	kill_child(&first);
	cr_assert_eq(ahead_of(s), 0, "killed while it ran");
	slot_leave(s);
	teardown(&f);
}

/* Killed at any moment of joining, a process leaves nothing that blocks the others. */
Test(slot, a_crash_while_joining_blocks_nobody)
{
	struct fixture f;
	struct slot *s;

	setup(&f);
	for (int i = 0; i < ROUNDS; i++) {
		struct child c[4];

		for (int k = 0; k < 4; k++)
			c[k] = start_child(&f);
		for (int k = 0; k < 4; k++)
			kill_child(&c[k]);
		s = join(&f);
		cr_assert_eq(ahead_of(s), 0);
		slot_leave(s);
	}
	teardown(&f);
}

/* ---- threads ---- */

struct crowd {
	struct fixture *f;
	unsigned int limit;
	pthread_mutex_t lock;
	/* under lock */
	unsigned int running, most;
};

static void *member_main(void *arg)
{
	struct crowd *c = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct slot *s = join(c->f);

		while (ahead_of(s) >= c->limit)
			sched_yield();
		pthread_mutex_lock(&c->lock);
		c->running++;
		if (c->running > c->most)
			c->most = c->running;
		pthread_mutex_unlock(&c->lock);
		sched_yield();
		pthread_mutex_lock(&c->lock);
		c->running--;
		pthread_mutex_unlock(&c->lock);
		slot_leave(s);
	}
	return NULL;
}

Test(slot, never_more_than_the_limit)
{
	struct crowd c = {.limit = 2, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[THREADS];
	struct fixture f;

	setup(&f);
	c.f = &f;
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, member_main, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_leq(c.most, 2);
	cr_assert_geq(c.most, 1);
	teardown(&f);
}
