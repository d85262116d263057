// SPDX-License-Identifier: Apache-2.0
// Find processes that could write guest RAM behind QEMU's back.
//
// A vhost-user backend (virtiofsd, DPDK, passt) gets the RAM files' descriptors from QEMU and maps
// them: its writes go through its own page tables, where no write-protection of ours is. The same
// file is known by device and inode, whatever path the other process sees.
#include "ram_find.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "cleanup.h"
#include "maps.h"

struct file_id {
	unsigned int dev_major, dev_minor;
	uint64_t ino;
};

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* How many files there are: private memory has none. */
static int identify(const struct ram_map *map, struct file_id ids[RAM_BLOCKS_MAX],
		    struct errtext *err)
{
	int count = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct ram_block *b = &map->blocks[i];
		struct stat st;

		if (ram_block_is_private(b))
			continue;
		if (fstat(b->fd, &st) < 0)
			return errtext_set(err, -errno, "RAM block %s: %s", b->name,
					   strerror(errno));
		ids[count++] = (struct file_id){major(st.st_dev), minor(st.st_dev), st.st_ino};
	}
	return count;
}

static bool maps_one_of(const struct maps_entry *e, const struct file_id *ids, unsigned int count)
{
	if (!e->shared || !e->writable || e->ino == 0)
		return false;
	for (unsigned int i = 0; i < count; i++) {
		if (e->ino == ids[i].ino && e->dev_major == ids[i].dev_major &&
		    e->dev_minor == ids[i].dev_minor)
			return true;
	}
	return false;
}

/* 1, 0, or a negative errno. A process that ends meanwhile maps nothing. */
static int process_maps(int proc_fd, const char *pid, const struct file_id *ids, unsigned int count,
			struct errtext *err)
{
	char name[300];
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	snprintf(name, sizeof(name), "%s/maps", pid);
	f = maps_fopen(proc_fd, name);
	if (!f && (errno == ENOENT || errno == ESRCH))
		return 0;
	/* A process with more privileges than we have, a host's init say, cannot be looked into.
	 * Backends of a guest run with fewer. */
	if (!f && (errno == EACCES || errno == EPERM) && geteuid() == 0)
		return 0;
	if (!f)
		return errtext_set(err, -errno,
				   "/proc/%s: cannot see whether other processes write guest RAM: "
				   "%s (run as root)",
				   name, strerror(errno));
	while (getline(&line, &size, f) > 0) {
		struct maps_entry e;

		if (maps_parse_line(line, &e) && maps_one_of(&e, ids, count))
			return 1;
	}
	return 0;
}

int ram_other_mappers(const struct ram_map *map, pid_t qemu, pid_t self, pid_t *other,
		      struct errtext *err)
{
	_cleanup_(close_dir) DIR *proc = opendir("/proc");
	struct file_id ids[RAM_BLOCKS_MAX];
	struct dirent *entry;
	int count = identify(map, ids, err), ret = count < 0 ? count : 0;

	*other = 0;
	if (!proc)
		return errtext_set(err, -errno, "/proc: %s", strerror(errno));
	while (count > 0 && ret == 0 && (entry = readdir(proc))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (!isdigit((unsigned char)entry->d_name[0]) || pid == qemu || pid == self)
			continue;
		ret = process_maps(dirfd(proc), entry->d_name, ids, (unsigned int)count, err);
		if (ret > 0)
			*other = pid;
	}
	return ret < 0 ? ret : 0;
}
