// SPDX-License-Identifier: Apache-2.0
// Find guest RAM in /proc/PID/maps, and open it through /proc/PID/map_files.
//
//   7f0000000000-7f0010000000 rw-s 00000000 00:2a 77  /var/lib/libvirt/qemu/ram/1-vm/pc.ram
//   7f0010000000-7f0020000000 rw-s 10000000 00:2a 77  /var/lib/libvirt/qemu/ram/1-vm/pc.ram
//
// The two lines are one block: mprotect, madvise and a userfaultfd registration split a mapping in
// several. Lines of the same file that continue each other are put together first.
//
// The file is opened by its mapping, not by its path: the path is that of QEMU's mount namespace,
// may be unlinked, and may have been replaced. As the name of a map_files entry is the exact range
// of a line, a mapping that is split between reading and opening is not found; then all is read
// again.
//
// Private memory has no name at all. It is RAM where QEMU's monitor says that a memory backend is.
//
// Which shared files are RAM? Every regular file with a name that is mapped shared and writable,
// and memfds called memory-backend-memfd. QEMU has no other use for such files; its memfds of other
// names (vhost log, JIT code) are not RAM.
#include "ram_find.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include "cleanup.h"
#include "maps.h"
#include "process.h"
#include "ram_name.h"
#include "ram_private.h"

#define TRIES 5
#define PRIVATE_PAGE_MAX (2 << 20) /* bytes */

struct finder {
	pid_t pid;
	int proc_fd; /* borrowed */
	bool writable;
	const struct ram_backends *known; /* NULL: only what names itself */
	struct ram_map *map;		  /* NULL: only look */
	struct ram_find_report *report;
	struct errtext *err;
};

const char *ram_unusable_name(enum ram_unusable why)
{
	static const char *const names[] = {
		[RAM_UNUSABLE_PRIVATE] = "private memory",
		[RAM_UNUSABLE_ANONYMOUS] = "shared memory without a file",
		[RAM_UNUSABLE_MEMFD] = "a memfd",
		[RAM_UNUSABLE_DISK] = "a file on a disk file system",
		[RAM_UNUSABLE_PARTIAL] = "a file that is mapped in parts",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == RAM_UNUSABLE_END_, "a name each");
	return (unsigned int)why < RAM_UNUSABLE_END_ ? names[why] : "?";
}

static void note(struct finder *f, const struct maps_entry *e, enum ram_unusable why,
		 const char *fs)
{
	struct ram_find_report *r = f->report;
	struct ram_find_item *item = &r->items[r->count];

	if (r->count == RAM_FIND_ITEMS_MAX)
		return;
	r->count++;
	item->why = why;
	item->size = e->end - e->start;
	snprintf(item->path, sizeof(item->path), "%s", e->path);
	snprintf(item->fs, sizeof(item->fs), "%s", fs);
}

static const char *fs_name(long magic, char buf[16])
{
	static const struct {
		long magic;
		const char *name;
	} known[] = {
		{EXT4_SUPER_MAGIC, "ext4"},   {XFS_SUPER_MAGIC, "xfs"},
		{BTRFS_SUPER_MAGIC, "btrfs"}, {OVERLAYFS_SUPER_MAGIC, "overlayfs"},
		{NFS_SUPER_MAGIC, "nfs"},     {F2FS_SUPER_MAGIC, "f2fs"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].magic == magic)
			return known[i].name;
	}
	snprintf(buf, 16, "0x%lx", (unsigned long)magic);
	return buf;
}

static int name_block(const struct maps_entry *e, bool unlinked, const struct ram_backend *backend,
		      struct ram_block *block, struct errtext *err)
{
	if (!backend)
		return ram_name(e->path, unlinked, block->name) < 0
			       ? errtext_set(err, -EINVAL, "%s: no name for a RAM block", e->path)
			       : 0;
	if (backend->size != block->size)
		return errtext_set(err, -ENOTSUP,
				   "memory backend %s has %llu MiB, and its memfd %llu",
				   backend->name, (unsigned long long)backend->size >> 20,
				   (unsigned long long)block->size >> 20);
	block->sent_by_qemu = true;
	strcpy(block->name, backend->name);
	return 0;
}

/* backend: what is known of a memfd; NULL: it has a name. */
static int add_block(struct finder *f, const struct maps_entry *e, int *fd, uint32_t page_size,
		     bool unlinked, const struct ram_backend *backend)
{
	struct ram_block block = {
		.size = e->end - e->start,
		.page_size = page_size,
		.qemu_addr = e->start,
		.fd = *fd,
	};
	int ret = name_block(e, unlinked, backend, &block, f->err);

	if (ret < 0)
		return ret;
	ret = ram_block_map(&block, f->writable, f->err);
	if (ret < 0)
		return ret;
	ret = ram_map_add(f->map, &block, f->err);
	if (ret < 0) {
		ram_block_unmap(&block);
		return ret;
	}
	*fd = -1;
	return 0;
}

static bool seen_before(const struct maps *maps, const struct maps_entry *e)
{
	for (const struct maps_entry *other = maps->entries; other < e; other++) {
		if (other->shared && other->ino == e->ino && other->dev_major == e->dev_major &&
		    other->dev_minor == e->dev_minor)
			return true;
	}
	return false;
}

static int consider_file(struct finder *f, const struct maps *maps, const struct maps_entry *e,
			 const struct ram_backend *backend)
{
	char path[64], fs_buf[16];
	struct statfs fs;
	struct stat st;
	_cleanup_close_ int fd = -1;

	/* Under the first line's range; the merged range is no entry of map_files. */
	snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, e->start, e->first_end);
	fd = openat(f->proc_fd, path, (f->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN
				       : errtext_set(f->err, -errno, "/proc/%d/%s (%s): %s%s",
						     f->pid, path, e->path, strerror(errno),
						     errno == EPERM ? " (run as root)" : "");
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return errtext_set(f->err, -errno, "%s: %s", e->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return 0; /* a device's */
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC) {
		note(f, e, RAM_UNUSABLE_DISK, fs_name(fs.f_type, fs_buf));
		return 0;
	}
	if (e->offset != 0 || seen_before(maps, e)) {
		note(f, e, RAM_UNUSABLE_PARTIAL, "");
		return 0;
	}
	f->report->usable++;
	if (!f->map)
		return 0;
	return add_block(f, e, &fd,
			 fs.f_type == HUGETLBFS_MAGIC ? (uint32_t)fs.f_bsize : RAM_PAGE_SIZE,
			 st.st_nlink == 0, backend);
}

static int add_private(struct finder *f, const struct ram_backend *backend, uint32_t page_size)
{
	_cleanup_close_ int pidfd = -1;
	int ret;
	struct ram_block block = {
		.size = backend->size,
		.page_size = page_size,
		.qemu_addr = backend->addr,
		.private_to = f->pid,
		.sent_by_qemu = true,
		.fd = -1,
	};

	f->report->usable++;
	if (!f->map)
		return 0;
	strcpy(block.name, backend->name);
	ret = process_hold(f->pid, &pidfd, f->err);
	if (ret < 0)
		return ret;
	block.fd = pidfd;
	block.allocated = ram_private_allocated(&block);
	ret = ram_map_add(f->map, &block, f->err);
	if (ret == 0)
		pidfd = -1;
	return ret;
}

/* Bytes of a page of private memory, or of a file of huge pages that is mapped privately; 0: it is
 * another file. Of 1 GiB pages the tracker cannot tell which have content. */
static uint32_t private_page_size(const struct finder *f, const struct maps_entry *e)
{
	char path[64];
	_cleanup_close_ int fd = -1;
	struct statfs fs;

	if (!e->path[0])
		return RAM_PAGE_SIZE;
	snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, e->start, e->first_end);
	fd = openat(f->proc_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != HUGETLBFS_MAGIC ||
	    fs.f_bsize > PRIVATE_PAGE_MAX)
		return 0;
	return (uint32_t)fs.f_bsize;
}

/* JIT code is executable, stacks and heap have a name in brackets, files another. */
static int consider_private(struct finder *f, const struct maps_entry *e)
{
	uint64_t at = e->start;
	const struct ram_backend *backend = NULL;
	uint32_t page_size;
	int ret = 0;

	if (e->executable || e->path[0] == '[' || e->end - e->start < RAM_FIND_PRIVATE_MIN)
		return 0;
	page_size = private_page_size(f, e);
	while (ret == 0 && page_size && (backend = ram_backends_within(f->known, at, e->end))) {
		ret = add_private(f, backend, page_size);
		at = backend->addr + backend->size;
	}
	if (at == e->start)
		note(f, e, RAM_UNUSABLE_PRIVATE, "");
	return ret;
}

static int consider_memfd(struct finder *f, const struct maps *maps, const struct maps_entry *e)
{
	const struct ram_backend *backend = ram_backends_at(f->known, e->start);

	if (backend)
		return consider_file(f, maps, e, backend);
	note(f, e, RAM_UNUSABLE_MEMFD, "");
	return 0;
}

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int consider(struct finder *f, const struct maps *maps, const struct maps_entry *e)
{
	if (!e->writable)
		return 0;
	if (!e->shared)
		return consider_private(f, e);
	if (starts_with(e->path, "/memfd:"))
		return starts_with(e->path, "/memfd:memory-backend-memfd")
			       ? consider_memfd(f, maps, e)
			       : 0;
	if (starts_with(e->path, "/dev/zero")) {
		note(f, e, RAM_UNUSABLE_ANONYMOUS, "");
		return 0;
	}
	/* System V segments belong to a display; anon_inode: to KVM, io_uring and VFIO. */
	if (e->path[0] != '/' || starts_with(e->path, "/SYSV"))
		return 0;
	return consider_file(f, maps, e, NULL);
}

static int find_once(struct finder *f)
{
	_cleanup_(maps_destroy) struct maps maps = {0};
	int ret = maps_read(f->proc_fd, &maps);

	if (ret < 0)
		return errtext_set(f->err, ret, "/proc/%d/maps: %s", f->pid, strerror(-ret));
	memset(f->report, 0, sizeof(*f->report));
	for (size_t i = 0; i < maps.count && ret == 0; i++)
		ret = consider(f, &maps, &maps.entries[i]);
	return ret;
}

static int find(struct finder *f)
{
	char path[32];
	_cleanup_close_ int proc_fd = -1;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d", f->pid);
	proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0)
		return errtext_set(f->err, errno == ENOENT ? -ESRCH : -errno, "%s: %s", path,
				   strerror(errno));
	f->proc_fd = proc_fd;
	for (int i = 0; i < TRIES; i++) {
		ret = find_once(f);
		if (ret != -EAGAIN)
			return ret;
		if (f->map)
			ram_map_destroy(f->map);
	}
	return errtext_set(f->err, ret, "%s: its memory map keeps changing", path);
}

int ram_find_survey(pid_t pid, struct ram_find_report *report, struct errtext *err)
{
	struct finder f = {.pid = pid, .report = report, .err = err};

	return find(&f);
}

static int refuse(pid_t pid, const struct ram_find_item *item, struct errtext *err)
{
	unsigned long long mib = item->size >> 20;

	switch (item->why) {
	case RAM_UNUSABLE_DISK:
		return errtext_set(
			err, -ENOTSUP,
			"process %d has %llu MiB of RAM in %s, on %s, where writes cannot be "
			"tracked; set memory_backing_dir in qemu.conf to a directory on "
			"tmpfs and start the guest anew",
			pid, mib, item->path, item->fs);
	case RAM_UNUSABLE_PARTIAL:
		return errtext_set(
			err, -ENOTSUP,
			"process %d has only a part of %s mapped, or has it mapped twice", pid,
			item->path);
	default:
		return errtext_set(
			err, -ENOTSUP,
			"process %d has %llu MiB of RAM in %s; the direct lane needs a named "
			"shared file: <memoryBacking><source type='file'/>"
			"<access mode='shared'/></memoryBacking>",
			pid, mib, ram_unusable_name(item->why));
	}
}

/* Next to shared blocks, private memory is QEMU's own affair, and its own migration moves it. */
const struct ram_find_item *ram_find_obstacle(const struct ram_find_report *r)
{
	const struct ram_find_item *worst = NULL;

	for (unsigned int i = 0; i < r->count; i++) {
		const struct ram_find_item *item = &r->items[i];

		if (item->why != RAM_UNUSABLE_PRIVATE)
			return item;
		if (r->usable == 0 && (!worst || item->size > worst->size))
			worst = item;
	}
	return worst;
}

static const struct ram_block *block_of(const struct ram_map *map, const char *name)
{
	for (unsigned int i = 0; i < map->count; i++)
		if (strcmp(map->blocks[i].name, name) == 0)
			return &map->blocks[i];
	return NULL;
}

/* Beside usable blocks, memory that cannot be used would not be seen. */
static int check_known(const struct finder *f)
{
	for (unsigned int i = 0; f->known && i < f->known->count; i++) {
		const struct ram_backend *backend = &f->known->item[i];
		const struct ram_block *block = block_of(f->map, backend->name);

		if (!block || block->size != backend->size)
			return errtext_set(f->err, -ENOTSUP,
					   "memory backend %s of process %d (%llu MiB) is of a "
					   "kind that cannot be moved: a file that is mapped "
					   "privately, or private pages of 1 GiB; share it: "
					   "<memoryBacking><access mode='shared'/>"
					   "</memoryBacking>",
					   backend->name, f->pid,
					   (unsigned long long)backend->size >> 20);
	}
	return 0;
}

int ram_find(pid_t pid, bool writable, struct ram_map *map, struct errtext *err)
{
	return ram_find_known(pid, writable, NULL, map, err);
}

int ram_find_known(pid_t pid, bool writable, const struct ram_backends *known, struct ram_map *map,
		   struct errtext *err)
{
	const struct ram_find_item *item;
	struct ram_find_report report = {0};
	struct finder f = {
		.pid = pid,
		.writable = writable,
		.known = known,
		.map = map,
		.report = &report,
		.err = err,
	};
	int ret = find(&f);

	if (ret == 0) {
		item = ram_find_obstacle(&report);
		if (item)
			ret = refuse(pid, item, err);
		else if (map->count == 0)
			ret = errtext_set(err, -ENOTSUP, "process %d has no guest RAM mapped", pid);
		else
			ret = check_known(&f);
	}
	if (ret < 0)
		ram_map_destroy(map);
	return ret;
}
