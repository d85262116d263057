// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, parsed.
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cleanup.h"

bool maps_parse_line(char *line, struct maps_entry *e)
{
	char perms[5];
	int path = 0;

	memset(e, 0, sizeof(*e));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &e->start,
		   &e->end, perms, &e->offset, &e->dev_major, &e->dev_minor, &e->ino, &path) != 7 ||
	    strlen(perms) != 4 || e->end < e->start)
		return false;
	e->first_end = e->end;
	e->writable = perms[1] == 'w';
	e->executable = perms[2] == 'x';
	e->shared = perms[3] == 's';
	e->path = path ? line + path : line + strlen(line);
	e->path[strcspn(e->path, "\n")] = '\0';
	return true;
}

static bool continues(const struct maps_entry *a, const struct maps_entry *b)
{
	return a->end == b->start && a->writable == b->writable && a->executable == b->executable &&
	       a->shared == b->shared && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor && a->ino == b->ino && !strcmp(a->path, b->path) &&
	       (a->ino == 0 || a->offset + (a->end - a->start) == b->offset);
}

static int append(struct maps *maps, const struct maps_entry *e)
{
	struct maps_entry *last = maps->count ? &maps->entries[maps->count - 1] : NULL;

	if (last && continues(last, e)) {
		last->end = e->end;
		return 0;
	}
	if ((maps->count & (maps->count - 1)) == 0) {
		size_t room = maps->count ? 2 * maps->count : 1;
		void *entries = reallocarray(maps->entries, room, sizeof(*e));

		if (!entries)
			return -ENOMEM;
		maps->entries = entries;
	}
	last = &maps->entries[maps->count];
	*last = *e; /* NOLINT(clang-analyzer-core.NullDereference): there is room for it now */
	last->path = strdup(e->path);
	if (!last->path)
		return -ENOMEM;
	maps->count++;
	return 0;
}

FILE *maps_fopen(int proc_fd, const char *name)
{
	int fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f && fd >= 0)
		close(fd);
	return f;
}

int maps_read(int proc_fd, struct maps *maps)
{
	_cleanup_fclose_ FILE *f = maps_fopen(proc_fd, "maps");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int ret = 0;

	if (!f)
		return -errno;
	while (ret == 0 && getline(&line, &size, f) > 0) {
		struct maps_entry e;

		ret = maps_parse_line(line, &e) ? append(maps, &e) : -EPROTO;
	}
	return ret == 0 && ferror(f) ? -EIO : ret;
}

void maps_destroy(struct maps *maps)
{
	for (size_t i = 0; i < maps->count; i++)
		free(maps->entries[i].path);
	free(maps->entries);
	*maps = (struct maps){0};
}
