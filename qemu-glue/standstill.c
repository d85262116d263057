// SPDX-License-Identifier: Apache-2.0
// A process that stands still while something is looked up that it could change.
//
// A thread that was seized and interrupted stops before it executes another instruction of its
// program. Threads may be made meanwhile, by those that have not stopped yet. So the list of
// threads is gone through until two passes, one after the other, find nothing new and nobody
// running.
//
// Nobody waits for the threads by waitpid: a signal that one of them was about to get, and that was
// waited for, would be lost when the tracer ends.
#include "standstill.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>
#include "cleanup.h"
#include "clock.h"

#define PATIENCE_US 2000000
#define POLL_US 1000

struct standstill {
	pid_t pid;
	int (*look)(void *arg, struct errtext *err);
	void *arg;
	struct errtext *err;
	int result;

	/* the holder's own */
	pid_t *held;
	unsigned int count, room;
	int refused; /* -errno: the latest pass met a thread that it could not seize */
};

/* 'X' also if it has gone. */
static char state_of(pid_t pid, pid_t tid)
{
	char path[64], line[512] = "";
	_cleanup_fclose_ FILE *f = NULL;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return 'X';
	rest = strrchr(line, ')'); /* the name may contain any of them */
	if (rest && rest[1])
		return rest[2];
	return '?';
}

static bool has_ended(char state)
{
	return state == 'X' || state == 'Z';
}

/* One that waits in the kernel without being interrupted stops before it leaves the kernel. */
static bool may_run(char state)
{
	return !has_ended(state) && state != 't' && state != 'T' && state != 'D';
}

static bool is_held(const struct standstill *s, pid_t tid)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (s->held[i] == tid)
			return true;
	return false;
}

static int note_held(struct standstill *s, pid_t tid)
{
	unsigned int room = s->room ? 2 * s->room : 64;
	pid_t *more;

	if (s->count == s->room) {
		more = realloc(s->held, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->held = more;
		s->room = room;
	}
	s->held[s->count++] = tid;
	return 0;
}

/* The helper of attach.h may hold it for a moment. */
static int hold(struct standstill *s, pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0) {
		if (errno != ESRCH)
			s->refused = -errno;
		return 0;
	}
	ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	return note_held(s, tid);
}

/* 0: all of them are held, and stand; 1: not yet. */
static int pass(struct standstill *s)
{
	char path[32];
	const struct dirent *entry;
	DIR *dir;
	int ret = 0;

	s->refused = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", s->pid);
	dir = opendir(path);
	while (dir && ret >= 0 && (entry = readdir(dir))) {
		pid_t tid = (pid_t)atoi(entry->d_name);
		char state;

		if (tid <= 0)
			continue;
		state = state_of(s->pid, tid);
		if (has_ended(state))
			continue;
		if (!is_held(s, tid)) {
			ret = hold(s, tid);
			ret = ret < 0 ? ret : 1;
		} else if (may_run(state)) {
			ret = 1;
		}
	}
	if (dir)
		closedir(dir);
	return ret;
}

static int explain(const struct standstill *s)
{
	if (s->refused)
		return errtext_set(s->err, s->refused,
				   "process %d cannot be held (%s): does another process trace it?",
				   s->pid, strerror(-s->refused));
	return errtext_set(s->err, -ETIMEDOUT, "process %d does not stand still", s->pid);
}

static int hold_all(struct standstill *s)
{
	uint64_t deadline = clock_monotonic_us() + PATIENCE_US;

	for (unsigned int quiet = 0; quiet < 2;) {
		int ret = pass(s);

		if (ret < 0)
			return errtext_set(s->err, ret, "process %d: %s", s->pid, strerror(-ret));
		quiet = ret == 0 ? quiet + 1 : 0;
		if (ret && clock_monotonic_us() >= deadline)
			return explain(s);
		if (ret)
			usleep(POLL_US);
	}
	return 0;
}

static void *holder_main(void *arg)
{
	struct standstill *s = arg;

	s->result = hold_all(s);
	if (s->result == 0)
		s->result = s->look(s->arg, s->err);
	free(s->held);
	return NULL; /* which lets them go */
}

int standstill_run(pid_t pid, int (*look)(void *arg, struct errtext *err), void *arg,
		   struct errtext *err)
{
	struct standstill s = {.pid = pid, .look = look, .arg = arg, .err = err};
	pthread_t holder;
	int ret = -pthread_create(&holder, NULL, holder_main, &s);

	if (ret < 0)
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	pthread_join(holder, NULL);
	return s.result;
}
