// SPDX-License-Identifier: Apache-2.0
// Which file system a path is on, as another process sees it.
#include "disk_storage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/magic.h>

static void need_tmpfs(void)
{
	struct statfs fs;

	if (statfs("/dev/shm", &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		cr_skip_test("/dev/shm is no tmpfs");
}

static void expect_fs(pid_t pid, const char *path, const char *fs)
{
	struct errtext err = {0};
	struct disk_storage s;

	cr_assert_eq(disk_storage_look(pid, path, &s, &err), 0, "%s", err.text);
	cr_assert(s.known);
	cr_assert_not(s.shared);
	cr_assert_str_eq(s.fs, fs, "%s is on %s", path, s.fs);
}

Test(disk_storage, names_the_file_system)
{
	need_tmpfs();
	expect_fs(0, "/proc/version", "proc");
	expect_fs(0, "/dev/shm", "tmpfs");
	expect_fs(getpid(), "/dev/shm", "tmpfs");
}

Test(disk_storage, a_missing_file_is_judged_by_what_is_above)
{
	need_tmpfs();
	expect_fs(0, "/dev/shm/no-such-directory/no-such-file", "tmpfs");
}

Test(disk_storage, no_such_process)
{
	struct errtext err = {0};
	struct disk_storage s;

	cr_assert_lt(disk_storage_look(0x7ffffff0, "/x", &s, &err), 0);
	cr_assert_not(s.known);
	cr_assert_not_null(strstr(err.text, "/x: cannot tell its file system"), "%s", err.text);
	cr_assert_not(disk_storage_overridden(0x7ffffff0));
}

/* ---- in another root ---- */

struct jail {
	char dir[64];
	pid_t pid;
};

static void write_conf(const struct jail *j, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/etc/libvirt/qemu.conf", j->dir);
	f = fopen(path, "we");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

/* A process whose root is a directory on tmpfs. */
static void jail_start(struct jail *j)
{
	int ready[2];
	char path[128], c;

	need_tmpfs();
	if (geteuid() != 0)
		cr_skip_test("needs root");
	strcpy(j->dir, "/dev/shm/dray-test-XXXXXX");
	cr_assert_not_null(mkdtemp(j->dir));
	snprintf(path, sizeof(path), "%s/etc", j->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/etc/libvirt", j->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/link", j->dir);
	cr_assert_eq(symlink("/proc", path), 0);
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	j->pid = fork();
	if (j->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (chroot(j->dir) == 0 && chdir("/") == 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

static void jail_stop(struct jail *j)
{
	static const char *const made[] = {"/etc/libvirt/qemu.conf", "/etc/libvirt", "/etc",
					   "/link", ""};
	char path[128];

	kill(j->pid, SIGKILL);
	waitpid(j->pid, NULL, 0);
	for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++) {
		snprintf(path, sizeof(path), "%s%s", j->dir, made[i]);
		remove(path);
	}
}

Test(disk_storage, links_stay_in_the_other_root)
{
	struct jail j;

	jail_start(&j);
	/* Here it is a link to our /proc; there it leads to nothing, and its directory counts. */
	expect_fs(j.pid, "/link/version", "tmpfs");
	expect_fs(j.pid, "/../../../proc/version", "tmpfs");
	jail_stop(&j);
}

Test(disk_storage, shared_directories_in_qemu_conf)
{
	static const struct {
		const char *text;
		bool found;
	} rows[] = {
		{"", false},
		{"user = \"qemu\"\n#shared_filesystems = [\n# \"/a\"\n#]\n", false},
		{"shared_filesystems_too = 1\n", false},
		{"user = \"qemu\"\n\t shared_filesystems  = [\n \"/a\"\n]\n", true},
		{"shared_filesystems=[\"/a\"]", true},
	};
	struct jail j;

	jail_start(&j);
	cr_assert_not(disk_storage_overridden(j.pid));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		write_conf(&j, rows[i].text);
		cr_assert_eq(disk_storage_overridden(j.pid), rows[i].found, "%s", rows[i].text);
	}
	jail_stop(&j);
}
