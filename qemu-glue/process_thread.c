// SPDX-License-Identifier: Apache-2.0
// The process behind a thread id that somebody else tells.
//
// The last number of a thread's NSpid is the one in its own PID namespace. So what is looked for is
// a thread of that number in a process whose namespace is the teller's. The kernel can translate by
// itself only since 6.11 (NS_GET_TGID_FROM_PIDNS), and a container has few processes.
#include "process_thread.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cleanup.h"

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Which PID namespace the process is in; false: it has gone, or is out of our reach. */
static bool namespace_of(const char *process, struct stat *st)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%.20s/ns/pid", process);
	return stat(path, st) == 0;
}

static bool same_namespace(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The last number of a line of a status file, such as "NSpid:\t4711\t39\n"; 0: no such line. */
static pid_t status_last(const char *path, const char *key)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		const char *last = strrchr(line, '\t');

		if (last && strncmp(line, key, strlen(key)) == 0)
			return (pid_t)atoi(last);
	}
	return 0;
}

static int thread_group(pid_t tid, pid_t *pid)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	*pid = status_last(path, "Tgid:");
	return *pid > 0 ? 0 : -ESRCH;
}

static bool has_thread(const char *process, pid_t tid)
{
	char path[80];
	_cleanup_(cleanup_closedir) DIR *dir = NULL;
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%.20s/task", process);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.20s/task/%.20s/status", process,
			 entry->d_name);
		if (isdigit((unsigned char)entry->d_name[0]) && status_last(path, "NSpid:") == tid)
			return true;
	}
	return false;
}

static int find_in(const struct stat *namespace, pid_t tid, pid_t *pid)
{
	_cleanup_(cleanup_closedir) DIR *dir = opendir("/proc");
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !namespace_of(entry->d_name, &st) || !same_namespace(&st, namespace) ||
		    !has_thread(entry->d_name, tid))
			continue;
		*pid = (pid_t)atoi(entry->d_name);
		return 0;
	}
	return -ESRCH;
}

int process_thread_find(pid_t teller, pid_t tid, pid_t *pid, struct errtext *err)
{
	struct stat theirs, ours;
	char name[16];

	snprintf(name, sizeof(name), "%d", teller);
	if (!namespace_of("self", &ours) || (teller && !namespace_of(name, &theirs)))
		return errtext_set(err, -ESRCH, "process %d: its PID namespace cannot be seen",
				   teller);
	if (!teller || same_namespace(&ours, &theirs)) {
		if (thread_group(tid, pid) == 0)
			return 0;
	} else if (find_in(&theirs, tid, pid) == 0) {
		return 0;
	}
	return errtext_set(err, -ESRCH, "no process has the thread %d", tid);
}

bool process_thread_is_qemu(pid_t pid, const char *uuid)
{
	char path[32];
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *arg = NULL;
	size_t size = 0;
	bool next = false;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	f = fopen(path, "re");
	while (f && getdelim(&arg, &size, '\0', f) > 0) {
		if (next && strcasecmp(arg, uuid) == 0)
			return true;
		next = strcmp(arg, "-uuid") == 0;
	}
	return false;
}
