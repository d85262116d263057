// SPDX-License-Identifier: Apache-2.0
//
// slow_storage DIRECTORY CONTROL: a FUSE file system over DIRECTORY, which shows the one file
// `disk` that was there, on storage as slow as a test wants.
//
// A read of SLOW_BYTES or more is answered so many milliseconds after it came as CONTROL says, a
// file with a number. The number may change meanwhile, and then holds for what waits as well: one
// beyond all patience makes the storage hang, 0 lets it answer. Shorter reads, as QEMU's own when
// it opens a disk, are answered at once. The kernel fills the pages of an O_DIRECT read when the
// answer comes, and pins them until then.
//
// Stays in the foreground; ends when it is unmounted or told to.
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOW_BYTES 32768u
#define STEP_MS 2

// For libfuse's callbacks.
static struct {
	int directory; // what is below the mount
	char *control;
} storage;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t delay_ms(void)
{
	char text[32] = "";
	int fd = open(storage.control, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 ? strtoll(text, NULL, 10) : 0;
}

static void wait_for_turn(void)
{
	const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
	int64_t begun = now_ms();

	while (now_ms() - begun < delay_ms())
		nanosleep(&step, NULL);
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/") == 0) {
		*st = (struct stat){.st_mode = S_IFDIR | 0755, .st_nlink = 2};
		return 0;
	}
	if (strcmp(path, "/disk") != 0)
		return -ENOENT;
	return fstatat(storage.directory, "disk", st, 0) < 0 ? -errno : 0;
}

static int disk_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)offset;
	(void)fi;
	(void)flags;
	if (strcmp(path, "/") != 0)
		return -ENOENT;
	fill(buf, "disk", NULL, 0, 0);
	return 0;
}

static int disk_open(const char *path, struct fuse_file_info *fi)
{
	int fd;

	if (strcmp(path, "/disk") != 0)
		return -ENOENT;
	fd = openat(storage.directory, "disk", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int disk_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return close((int)fi->fh);
}

static int disk_read(const char *path, char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path;
	if (size >= SLOW_BYTES)
		wait_for_turn();
	n = pread((int)fi->fh, buf, size, offset);
	return n < 0 ? -errno : (int)n;
}

static const struct fuse_operations operations = {
	.getattr = disk_getattr,
	.readdir = disk_readdir,
	.open = disk_open,
	.read = disk_read,
	.release = disk_release,
};

int main(int argc, char *argv[])
{
	char foreground[] = "-f", flag[] = "-o", options[] = "allow_other,ro,fsname=slow";
	char *arguments[] = {argv[0], argv[1], foreground, flag, options, NULL};

	if (argc != 3) {
		fprintf(stderr, "usage: slow_storage DIRECTORY CONTROL\n");
		return 2;
	}
	storage.control = realpath(argv[2], NULL); // libfuse goes to the root directory
	storage.directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (storage.directory < 0 || !storage.control) {
		fprintf(stderr, "slow_storage: %s, %s: %s\n", argv[1], argv[2], strerror(errno));
		return 1;
	}
	return fuse_main(5, arguments, &operations, NULL);
}
