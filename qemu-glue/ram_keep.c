// SPDX-License-Identifier: Apache-2.0
// Guest RAM that outlives QEMU and a killed dray.
//
// libvirt removes QEMU and the files of its RAM as soon as the migration is confirmed; a tmpfs or
// hugetlbfs file lives on while somebody has it open. A hard link in its directory would do as
// well, but is in libvirt's way, cannot be made for a file that QEMU has unlinked (hugetlbfs), and
// keeps memory for ever if nobody comes back.
//
// The numbers are those that we have ourselves: dup2 of a descriptor onto itself, as a spawn
// action, makes the child's one survive exec (POSIX.1-2024), and nothing can collide.
#include "ram_keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cleanup.h"
#include "process.h"

static int allocate(struct ram_keep *keep, unsigned int count, struct errtext *err)
{
	keep->blocks = count ? calloc(count, sizeof(*keep->blocks)) : NULL;
	if (count && !keep->blocks)
		return errtext_set(err, -ENOMEM, "out of memory for %u RAM blocks", count);
	keep->count = count;
	return 0;
}

void ram_keep_destroy(struct ram_keep *keep)
{
	free(keep->blocks);
	*keep = (struct ram_keep){0};
}

static int describe_block(const struct ram_block *block, struct ram_keep_block *k,
			  struct errtext *err)
{
	struct stat st;

	if (block->fd <= STDERR_FILENO || fstat(block->fd, &st) < 0)
		return errtext_set(err, -EBADF, "RAM block '%s': its file is not open (%d)",
				   block->name, block->fd);
	*k = (struct ram_keep_block){
		.size = block->size,
		.page_size = block->page_size,
		.fd = block->fd,
		.dev = st.st_dev,
		.ino = st.st_ino,
	};
	memcpy(k->name, block->name, sizeof(k->name));
	return 0;
}

static int describe_private(const struct ram_block *block, struct ram_keep_block *k,
			    struct errtext *err)
{
	*k = (struct ram_keep_block){
		.size = block->size,
		.page_size = block->page_size,
		.fd = -1,
		.private_to = block->private_to,
		.addr = block->qemu_addr,
	};
	memcpy(k->name, block->name, sizeof(k->name));
	return process_started(k->private_to, &k->started, err);
}

int ram_keep_describe(const struct ram_map *map, struct ram_keep *keep, struct errtext *err)
{
	int ret = allocate(keep, map->count, err);

	for (unsigned int i = 0; ret == 0 && i < map->count; i++) {
		const struct ram_block *b = &map->blocks[i];

		ret = ram_block_is_private(b) ? describe_private(b, &keep->blocks[i], err)
					      : describe_block(b, &keep->blocks[i], err);
	}
	if (ret < 0)
		ram_keep_destroy(keep);
	return ret;
}

void ram_keep_note(const struct ram_map *map, struct ram_keep *keep)
{
	for (unsigned int i = 0; i < map->count; i++)
		for (unsigned int k = 0; k < keep->count; k++)
			if (strcmp(map->blocks[i].name, keep->blocks[k].name) == 0) {
				keep->blocks[k].kept = map->blocks[i].kept;
				keep->blocks[k].sentinel = map->blocks[i].sentinel;
			}
}

void ram_keep_recall(const struct ram_keep *keep, struct ram_map *map)
{
	for (unsigned int i = 0; i < map->count; i++)
		for (unsigned int k = 0; k < keep->count; k++)
			if (strcmp(map->blocks[i].name, keep->blocks[k].name) == 0) {
				map->blocks[i].kept = keep->blocks[k].kept;
				map->blocks[i].sentinel = keep->blocks[k].sentinel;
			}
}

int ram_keep_inherit(const struct ram_keep *keep, posix_spawn_file_actions_t *actions)
{
	for (unsigned int i = 0; i < keep->count; i++) {
		int fd = keep->blocks[i].fd;
		int error = keep->blocks[i].private_to
				    ? 0
				    : posix_spawn_file_actions_adddup2(actions, fd, fd);

		if (error)
			return -error;
	}
	return 0;
}

static int hold_qemu(const struct ram_keep_block *k, int *pidfd, struct errtext *err)
{
	_cleanup_close_ int held = -1;
	uint64_t started;
	int ret = process_hold(k->private_to, &held, err);

	if (ret == 0)
		ret = process_started(k->private_to, &started, err);
	if (ret == 0 && started != k->started)
		ret = errtext_set(err, -ESRCH, "process %d is another one by now", k->private_to);
	if (ret == 0)
		*pidfd = steal_fd(&held);
	return ret;
}

int ram_keep_hold_qemu(const struct ram_keep *keep, int *pidfd, struct errtext *err)
{
	for (unsigned int i = 0; i < keep->count; i++)
		if (keep->blocks[i].private_to)
			return hold_qemu(&keep->blocks[i], pidfd, err);
	return -ENOENT;
}

void ram_keep_backends(const struct ram_keep *keep, struct ram_backends *out)
{
	out->count = 0;
	for (unsigned int i = 0; i < keep->count && out->count < RAM_BLOCKS_MAX; i++) {
		const struct ram_keep_block *k = &keep->blocks[i];
		struct ram_backend *backend = &out->item[out->count];

		if (!k->private_to)
			continue;
		out->count++;
		backend->size = k->size;
		backend->addr = k->addr;
		memcpy(backend->name, k->name, sizeof(backend->name));
	}
}

/* ---- JSON ---- */

static void where_to_json(const struct ram_keep_block *k, json_object *o)
{
	if (k->private_to) {
		json_object_object_add(o, "pid", json_object_new_int(k->private_to));
		json_object_object_add(o, "started", json_object_new_uint64(k->started));
		json_object_object_add(o, "addr", json_object_new_uint64(k->addr));
		return;
	}
	json_object_object_add(o, "fd", json_object_new_int(k->fd));
	json_object_object_add(o, "dev", json_object_new_uint64(k->dev));
	json_object_object_add(o, "ino", json_object_new_uint64(k->ino));
}

json_object *ram_keep_to_json(const struct ram_keep *keep)
{
	json_object *array = json_object_new_array();

	for (unsigned int i = 0; i < keep->count; i++) {
		const struct ram_keep_block *k = &keep->blocks[i];
		json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(k->name));
		json_object_object_add(o, "size", json_object_new_uint64(k->size));
		json_object_object_add(o, "page_size", json_object_new_uint64(k->page_size));
		where_to_json(k, o);
		json_object_object_add(o, "kept", json_object_new_uint64(k->kept));
		json_object_object_add(o, "sentinel", json_object_new_uint64(k->sentinel));
		json_object_array_add(array, o);
	}
	return array;
}

static int bad_entry(unsigned int i, const char *key, struct errtext *err)
{
	return errtext_set(err, -EINVAL,
			   "the record of kept RAM: block %u: '%s' is missing or impossible", i,
			   key);
}

static bool get_number(json_object *o, const char *key, uint64_t max, uint64_t *to)
{
	json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
	    json_object_get_int64(v) < 0)
		return false;
	*to = json_object_get_uint64(v);
	return *to <= max;
}

static bool get_name(json_object *o, char name[RAM_BLOCK_NAME_MAX])
{
	json_object *v;
	size_t len;

	if (!json_object_object_get_ex(o, "name", &v) || !json_object_is_type(v, json_type_string))
		return false;
	len = (size_t)json_object_get_string_len(v);
	if (len == 0 || len >= RAM_BLOCK_NAME_MAX || strlen(json_object_get_string(v)) != len)
		return false;
	memcpy(name, json_object_get_string(v), len + 1);
	return true;
}

static int parse_private(json_object *o, unsigned int i, struct ram_keep_block *k,
			 struct errtext *err)
{
	uint64_t pid;

	if (!get_number(o, "pid", INT_MAX, &pid) || pid == 0)
		return bad_entry(i, "pid", err);
	if (!get_number(o, "started", UINT64_MAX, &k->started))
		return bad_entry(i, "started", err);
	if (!get_number(o, "addr", UINT64_MAX, &k->addr))
		return bad_entry(i, "addr", err);
	k->private_to = (pid_t)pid;
	k->fd = -1;
	return 0;
}

static int parse_file(json_object *o, unsigned int i, struct ram_keep_block *k, struct errtext *err)
{
	uint64_t fd;

	if (!get_number(o, "fd", INT_MAX, &fd))
		return bad_entry(i, "fd", err);
	if (!get_number(o, "dev", UINT64_MAX, &k->dev))
		return bad_entry(i, "dev", err);
	if (!get_number(o, "ino", UINT64_MAX, &k->ino))
		return bad_entry(i, "ino", err);
	k->fd = (int)fd;
	return 0;
}

static int parse_block(json_object *o, unsigned int i, struct ram_keep_block *k,
		       struct errtext *err)
{
	uint64_t page_size;
	int ret;

	if (!json_object_is_type(o, json_type_object) || !get_name(o, k->name))
		return bad_entry(i, "name", err);
	if (!get_number(o, "size", RAM_BLOCK_SIZE_MAX, &k->size))
		return bad_entry(i, "size", err);
	if (!get_number(o, "page_size", UINT32_MAX, &page_size))
		return bad_entry(i, "page_size", err);
	ret = json_object_object_get_ex(o, "pid", NULL) ? parse_private(o, i, k, err)
							: parse_file(o, i, k, err);
	if (ret < 0)
		return ret;
	if (json_object_object_get_ex(o, "kept", NULL) &&
	    !get_number(o, "kept", UINT64_MAX, &k->kept))
		return bad_entry(i, "kept", err);
	if (json_object_object_get_ex(o, "sentinel", NULL) &&
	    !get_number(o, "sentinel", k->size >> RAM_PAGE_SHIFT, &k->sentinel))
		return bad_entry(i, "sentinel", err);
	k->page_size = (uint32_t)page_size;
	return 0;
}

int ram_keep_from_json(json_object *array, struct ram_keep *keep, struct errtext *err)
{
	size_t count;
	int ret;

	if (!json_object_is_type(array, json_type_array))
		return errtext_set(err, -EINVAL, "the record of kept RAM is no array");
	count = json_object_array_length(array);
	if (count > RAM_BLOCKS_MAX)
		return errtext_set(err, -EINVAL,
				   "the record of kept RAM has %zu blocks; a guest may have %d",
				   count, RAM_BLOCKS_MAX);
	ret = allocate(keep, (unsigned int)count, err);
	for (unsigned int i = 0; ret == 0 && i < count; i++)
		ret = parse_block(json_object_array_get_idx(array, i), i, &keep->blocks[i], err);
	if (ret < 0)
		ram_keep_destroy(keep);
	return ret;
}

/* ---- reopening ---- */

/* Look before opening: the number may by now be a FIFO or a device. */
static int check_file(const struct ram_keep_block *k, int path_fd, pid_t holder,
		      struct errtext *err)
{
	struct stat st;

	if (fstat(path_fd, &st) < 0)
		return errtext_set(err, -errno, "RAM block '%s': %s", k->name, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_dev != k->dev || st.st_ino != k->ino ||
	    (uint64_t)st.st_size < k->size)
		return errtext_set(err, -ESTALE,
				   "RAM block '%s': descriptor %d of process %d is another file "
				   "than the one written down",
				   k->name, k->fd, holder);
	return 0;
}

static int reopen_file(const struct ram_keep_block *k, pid_t holder, int proc_fd, int *fd,
		       struct errtext *err)
{
	_cleanup_close_ int path_fd = -1;
	char path[40];
	int ret;

	snprintf(path, sizeof(path), "fd/%d", k->fd);
	path_fd = openat(proc_fd, path, O_PATH | O_CLOEXEC);
	if (path_fd < 0)
		return errtext_set(err, errno == ENOENT ? -ESTALE : -errno,
				   "RAM block '%s': descriptor %d of process %d: %s", k->name,
				   k->fd, holder, strerror(errno));
	ret = check_file(k, path_fd, holder, err);
	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? errtext_set(err, -errno, "RAM block '%s': cannot open its file: %s",
				     k->name, strerror(errno))
		       : 0;
}

static int reopen_block(const struct ram_keep_block *k, pid_t holder, int proc_fd,
			struct ram_map *map, struct errtext *err)
{
	struct ram_block block = {.size = k->size, .page_size = k->page_size};
	_cleanup_close_ int fd = -1;
	int ret = reopen_file(k, holder, proc_fd, &fd, err);

	if (ret < 0)
		return ret;
	memcpy(block.name, k->name, sizeof(block.name));
	block.fd = fd;
	ret = ram_block_map(&block, false, err);
	if (ret < 0)
		return ret;
	ret = ram_map_add(map, &block, err);
	if (ret < 0)
		ram_block_unmap(&block);
	else
		fd = -1;
	return ret;
}

/* pidfd: taken over, unless it fails. */
static int add_private(const struct ram_keep_block *k, int *pidfd, struct ram_map *map,
		       struct errtext *err)
{
	struct ram_block block = {.size = k->size,
				  .page_size = k->page_size,
				  .private_to = k->private_to,
				  .sent_by_qemu = true,
				  .qemu_addr = k->addr,
				  .fd = *pidfd};
	int ret;

	memcpy(block.name, k->name, sizeof(block.name));
	ret = ram_map_add(map, &block, err);
	if (ret == 0)
		*pidfd = -1;
	return ret;
}

static int reopen_private(const struct ram_keep_block *k, struct ram_map *map, struct errtext *err)
{
	_cleanup_close_ int pidfd = -1;
	int ret = hold_qemu(k, &pidfd, err);

	return ret < 0 ? ret : add_private(k, &pidfd, map, err);
}

int ram_reopen_ended(const struct ram_keep *keep, struct ram_map *map, struct errtext *err)
{
	pid_t qemu = 0;
	int ret = 0;

	for (unsigned int i = 0; i < keep->count; i++)
		qemu = keep->blocks[i].private_to ? keep->blocks[i].private_to : qemu;
	for (unsigned int i = 0; ret == 0 && i < keep->count; i++) {
		struct ram_keep_block k = keep->blocks[i];
		int none = -1;

		k.private_to = qemu;
		ret = add_private(&k, &none, map, err);
	}
	if (ret < 0)
		ram_map_destroy(map);
	return ret;
}

int ram_reopen(pid_t holder, const struct ram_keep *keep, struct ram_map *map, struct errtext *err)
{
	_cleanup_close_ int pidfd = -1, proc_fd = -1;
	int ret = process_open(holder, &pidfd, &proc_fd, err);

	for (unsigned int i = 0; ret == 0 && i < keep->count; i++) {
		const struct ram_keep_block *k = &keep->blocks[i];

		ret = k->private_to ? reopen_private(k, map, err)
				    : reopen_block(k, holder, proc_fd, map, err);
	}
	if (ret < 0)
		ram_map_destroy(map);
	return ret;
}

/* The number under which the holder has the block's file open, or -1. */
static int number_of(const struct ram_keep_block *k, pid_t holder)
{
	const struct dirent *entry;
	char path[32];
	int number = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", holder);
	dir = opendir(path);
	while (dir && number < 0 && (entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_dev == k->dev &&
		    st.st_ino == k->ino)
			number = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return number;
}

/* Private memory has no file, and needs none. */
int ram_reopen_found(pid_t holder, uint64_t started, const struct ram_keep *keep,
		     struct ram_map *map, struct errtext *err)
{
	_cleanup_(ram_keep_destroy) struct ram_keep found = {0};
	_cleanup_close_ int pidfd = -1;
	uint64_t then;
	int ret = process_hold(holder, &pidfd, err);

	if (ret == 0)
		ret = process_started(holder, &then, err);
	if (ret == 0 && then != started)
		ret = errtext_set(err, -ESRCH, "process %d is another one by now", holder);
	if (ret == 0)
		ret = allocate(&found, keep->count, err);
	for (unsigned int i = 0; ret == 0 && i < keep->count; i++) {
		found.blocks[i] = keep->blocks[i];
		if (!keep->blocks[i].private_to)
			found.blocks[i].fd = number_of(&keep->blocks[i], holder);
	}
	return ret < 0 ? ret : ram_reopen(holder, &found, map, err);
}
