// SPDX-License-Identifier: Apache-2.0
// Where a libvirt daemon has memory files made: a process that listens like one.
#include "memory_dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(memory_dir, .timeout = 30);

struct daemon {
	char dir[64]; /* on tmpfs */
	char socket[108];
	pid_t pid;
};

static void make(const struct daemon *d, const char *path)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "%s%s", d->dir, path);
	cr_assert_eq(mkdir(whole, 0755), 0, "%s: %s", whole, strerror(errno));
}

static void setup(struct daemon *d)
{
	struct statfs fs;

	if (statfs("/dev/shm", &fs) < 0 || fs.f_type != TMPFS_MAGIC || geteuid() != 0)
		cr_skip_test("needs root, and /dev/shm on tmpfs");
	strcpy(d->dir, "/dev/shm/dray-test-XXXXXX");
	cr_assert_not_null(mkdtemp(d->dir));
	snprintf(d->socket, sizeof(d->socket), "%s/sock", d->dir);
}

static void write_conf(const struct daemon *d, const char *path, const char *text)
{
	char whole[256];
	FILE *f;

	snprintf(whole, sizeof(whole), "%s%s", d->dir, path);
	f = fopen(whole, "we");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static void listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0)
		_exit(1);
}

static void await(const struct daemon *d)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", d->socket);
	while (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
		cr_assert_eq(waitpid(d->pid, NULL, WNOHANG), 0);
	close(fd);
}

/* One of the system, whose root is the directory. */
static void start_in_root(struct daemon *d)
{
	d->pid = fork();
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (chroot(d->dir) < 0 || chdir("/") < 0)
			_exit(1);
		listen_at("/sock");
		pause();
		_exit(0);
	}
	await(d);
}

/* A user's own, with this environment. */
static void start_with(struct daemon *d, char *variable)
{
	char *const environment[] = {(char *)"A=/b", variable, NULL};

	d->pid = fork();
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		listen_at(d->socket);
		execle("/bin/sleep", "sleep", "60", (char *)NULL, environment);
		_exit(1);
	}
	await(d);
	/* Its name comes before its environment, in an exec. */
	for (char first[5] = ""; strcmp(first, "A=/b") != 0;) {
		char path[64];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/environ", d->pid);
		f = fopen(path, "re");
		cr_assert_not_null(f);
		if (!fgets(first, sizeof(first), f))
			first[0] = '\0';
		fclose(f);
	}
}

static void teardown(struct daemon *d)
{
	char command[128];

	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -r %s", d->dir);
	cr_assert_eq(system(command), 0); // NOLINT(cert-env33-c): our own path
}

static void expect(const struct daemon *d, bool own, const char *path, bool fit)
{
	struct memory_dir m;
	struct errtext err = {0};

	cr_assert_eq(memory_dir_look(d->socket, own, &m, &err), 0, "%s", err.text);
	cr_expect_str_eq(m.path, path);
	cr_expect_eq(m.fit, fit, "%s", m.path);
	cr_expect(!fit || m.free > 0);
}

Test(memory_dir, of_the_system)
{
	static const struct {
		const char *conf, *path;
	} cases[] = {
		{"#memory_backing_dir = \"/commented\"\n", "/var/lib/libvirt/qemu/ram"},
		{"memory_backing_dir = \"/ram\"\n", "/ram"},
		{"  memory_backing_dir='/one'\nmemory_backing_dir=\"/two\" # that one\n", "/two"},
		{"memory_backing_dir_of_another = \"/x\"\n", "/var/lib/libvirt/qemu/ram"},
		{"memory_backing_dir = /bare\nmemory_backing_dir = \"open\n",
		 "/var/lib/libvirt/qemu/ram"},
		{"memory_backing_dir = \"relative\"\nuser = \"x\"\n", "/var/lib/libvirt/qemu/ram"},
	};
	struct daemon d;

	setup(&d);
	start_in_root(&d);
	expect(&d, false, "/var/lib/libvirt/qemu/ram", true);
	make(&d, "/etc");
	make(&d, "/etc/libvirt");
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		write_conf(&d, "/etc/libvirt/qemu.conf", cases[i].conf);
		expect(&d, false, cases[i].path, true);
	}
	teardown(&d);
}

Test(memory_dir, of_a_user)
{
	char variable[128], path[128];
	struct daemon d;

	setup(&d);
	snprintf(variable, sizeof(variable), "XDG_CONFIG_HOME=%s/conf", d.dir);
	start_with(&d, variable);
	snprintf(path, sizeof(path), "%s/conf/libvirt/qemu/ram", d.dir);
	expect(&d, true, path, true);
	make(&d, "/conf");
	make(&d, "/conf/libvirt");
	write_conf(&d, "/conf/libvirt/qemu.conf", "memory_backing_dir = \"/proc/ram\"\n");
	expect(&d, true, "/proc/ram", false);
	teardown(&d);
}

Test(memory_dir, of_a_user_who_has_only_a_home)
{
	char variable[128], path[128];
	struct daemon d;

	setup(&d);
	snprintf(variable, sizeof(variable), "HOME=%s", d.dir);
	start_with(&d, variable);
	snprintf(path, sizeof(path), "%s/.config/libvirt/qemu/ram", d.dir);
	expect(&d, true, path, true);
	teardown(&d);
}

Test(memory_dir, nobody_listens)
{
	struct memory_dir m;
	struct errtext err = {0};

	cr_assert_lt(memory_dir_look("/dev/shm/no-such-socket", false, &m, &err), 0);
	cr_assert_not(m.fit);
	cr_assert(strstr(err.text, "memory_backing_dir"), "%s", err.text);
}
