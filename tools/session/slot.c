// SPDX-License-Identifier: Apache-2.0
// How many migrations may run at once on this host: a queue of tickets in a directory.
//
//   lock         flock: held by whoever makes or counts tickets, for moments
//   0000000007   a ticket; its owner keeps it flock'ed for life
//   0000000009
//
// A ticket that can be locked has lost its owner and is removed. Tickets are made, locked and
// looked at under `lock` only, so nobody takes one that is just being made for a dead one; leaving
// needs no lock, as a ticket without a name counts for nobody. Numbers start again when the queue
// is empty.
//
// Rejected: a counter in a file or a semaphore, which a crash leaves too high; record locks, which
// belong to the process, so that two slots of one process could not tell each other.
#include "slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "cleanup.h"
#include "directory.h"

#define TICKET_DIGITS 10
#define TICKET_MAX UINT64_C(9999999999)

struct slot {
	int dir, lock, ticket; /* descriptors */
	uint64_t number;
	char name[TICKET_DIGITS + 1];
};

struct tickets { /* what one look at the directory found */
	unsigned int ahead;
	uint64_t last;
};

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static void cleanup_slot(struct slot **s)
{
	slot_leave(*s);
}

static int lock_queue(const struct slot *s)
{
	while (flock(s->lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Unlocked by hand: a child forked meanwhile shares the lock, and closes it later. */
static void unlock_queue(const struct slot *s)
{
	flock(s->lock, LOCK_UN);
}

static bool parse_ticket(const char *name, uint64_t *number)
{
	if (strlen(name) != TICKET_DIGITS || strspn(name, "0123456789") != TICKET_DIGITS)
		return false;
	*number = strtoull(name, NULL, 10);
	return true;
}

/* Does its owner live? If not it is removed. */
static int look_at(const struct slot *s, const char *name, bool *alive)
{
	_cleanup_close_ int fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC);

	*alive = false;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* it has left this instant */
	if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
		*alive = errno == EWOULDBLOCK;
		return *alive ? 0 : -errno;
	}
	return unlinkat(s->dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* With the queue locked. Own tickets, and those behind, are not touched. */
static int look_around(const struct slot *s, struct tickets *found)
{
	/* A description of its own, so that each look starts at the beginning. */
	_cleanup_close_ int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cleanup_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	*found = (struct tickets){0};
	if (!dir)
		return -errno;
	steal_fd(&fd);
	while ((errno = 0, entry = readdir(dir))) {
		uint64_t number;
		bool alive;
		int ret;

		if (!parse_ticket(entry->d_name, &number) || number >= s->number)
			continue;
		ret = look_at(s, entry->d_name, &alive);
		if (ret < 0)
			return ret;
		found->ahead += alive;
		if (alive && number > found->last)
			found->last = number;
	}
	return -errno;
}

/* With the queue locked. */
static int make_ticket(struct slot *s)
{
	struct tickets found;
	int ret;

	s->number = UINT64_MAX; /* behind all there are */
	ret = look_around(s, &found);
	if (ret == 0 && found.last >= TICKET_MAX)
		ret = -EOVERFLOW;
	if (ret < 0)
		return ret;
	s->number = found.last + 1;
	snprintf(s->name, sizeof(s->name), "%010" PRIu64, s->number);
	s->ticket = openat(s->dir, s->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->ticket < 0 || flock(s->ticket, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return 0;
}

static int open_queue(struct slot *s, const char *dir)
{
	s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0)
		return -errno;
	s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return s->lock < 0 ? -errno : 0;
}

int slot_join(const char *dir, struct slot **out, struct errtext *err)
{
	_cleanup_(cleanup_slot) struct slot *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return errtext_set(err, -ENOMEM, "out of memory");
	s->dir = s->lock = s->ticket = -1;
	ret = directory_make(dir, 0700, err);
	if (ret < 0)
		return ret;
	ret = open_queue(s, dir);
	if (ret == 0)
		ret = lock_queue(s);
	if (ret == 0) {
		ret = make_ticket(s);
		unlock_queue(s);
	}
	if (ret < 0)
		return errtext_set(err, ret, "%s: cannot queue for a migration slot: %s", dir,
				   strerror(-ret));
	*out = steal_ptr(&s);
	return 0;
}

int slot_ahead(struct slot *s, unsigned int *ahead)
{
	struct tickets found;
	int ret = lock_queue(s);

	if (ret < 0)
		return ret;
	ret = look_around(s, &found);
	unlock_queue(s);
	if (ret == 0)
		*ahead = found.ahead;
	return ret;
}

void slot_leave(struct slot *s)
{
	if (!s)
		return;
	if (s->ticket >= 0) {
		unlinkat(s->dir, s->name, 0);
		flock(s->ticket, LOCK_UN);
	}
	cleanup_close(&s->ticket);
	cleanup_close(&s->lock);
	cleanup_close(&s->dir);
	free(s);
}
