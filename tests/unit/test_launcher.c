// SPDX-License-Identifier: Apache-2.0
// A launcher from outside: a process with a mount namespace, and in it a socket, of its own.
#include "launcher.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "own_run.h"

#define DIR "/run/libvirt"
#define SOCKET DIR "/virtqemud-sock"

TestSuite(launcher, .timeout = 20);

static bool listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4) == 0;
}

static void be_launcher(const char *path, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/run", "tmpfs", 0, NULL) == 0 &&
	    mkdir(DIR, 0755) == 0 && listen_on(path) && symlink("/run/secret", DIR "/link") == 0 &&
	    write(ready, "!", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

/* The test's own /run has a file that the launcher's link means, and no libvirt. */
static pid_t start(const char *path)
{
	int ready[2];
	char byte;
	pid_t pid;

	own_run();
	cr_assert_eq(close(open("/run/secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		be_launcher(path, ready[1]);
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The same paths, the same directory. */
Test(launcher, its_sockets_are_reached_where_it_has_them)
{
	char found[LIBVIRT_SOCKET_SIZE], cwd[64];
	struct libvirt_address address;
	struct errtext err = {0};
	pid_t pid = start(SOCKET);

	cr_assert_eq(chdir("/tmp"), 0);
	cr_assert_eq(launcher_enter(pid, NULL, found, &err), 0, "%s", err.text);
	cr_assert_str_eq(found, SOCKET);
	cr_assert_eq(libvirt_address_look(found, &address, &err), 0, "%s", err.text);
	cr_assert_eq(address.pid, pid);
	cr_assert_str_eq(getcwd(cwd, sizeof(cwd)), "/tmp", "we are where we were");
	cr_assert_eq(access("/run/secret", F_OK), 0, "all else is as it was");
	cr_assert(listen_on(DIR "/dray.stream"));
	stop(pid);
}

/* The user inside can lead dray nowhere. */
Test(launcher, no_link_of_its_is_followed)
{
	char found[LIBVIRT_SOCKET_SIZE];
	pid_t pid = start(SOCKET);
	struct stat st;

	cr_assert_eq(launcher_enter(pid, NULL, found, NULL), 0);
	cr_assert_eq(lstat(DIR "/link", &st), 0);
	cr_assert_lt(open(DIR "/link", O_RDONLY | O_CLOEXEC), 0);
	cr_assert_eq(errno, ELOOP);
	cr_assert_lt(chmod(DIR "/link", 0644), 0);
	cr_assert_eq(errno, ELOOP);
	stop(pid);
}

Test(launcher, a_socket_by_name)
{
	char found[LIBVIRT_SOCKET_SIZE];
	struct errtext err = {0};
	pid_t pid = start(DIR "/own-sock");

	cr_assert_eq(launcher_enter(pid, NULL, found, &err), -ENOENT);
	cr_assert(strstr(err.text, "--libvirt-socket"), "%s", err.text);
	cr_assert_eq(launcher_enter(pid, SOCKET, found, NULL), -ENOENT);
	cr_assert_eq(launcher_enter(pid, DIR "/link", found, NULL), -ENOENT, "no socket");
	cr_assert_eq(launcher_enter(pid, "libvirt/own-sock", found, NULL), -EINVAL);
	cr_assert_eq(access(DIR, F_OK), -1, "what fails changes nothing");
	cr_assert_eq(launcher_enter(pid, DIR "/own-sock", found, NULL), 0);
	cr_assert_str_eq(found, DIR "/own-sock");
	stop(pid);
}

/* /run itself must stay the host's. */
Test(launcher, a_socket_without_a_directory_of_its_own)
{
	char found[LIBVIRT_SOCKET_SIZE];
	struct errtext err = {0};
	pid_t pid = start("/run/sock");

	cr_assert_eq(launcher_enter(pid, "/run/sock", found, &err), -EINVAL);
	cr_assert(strstr(err.text, "a directory of its own"), "%s", err.text);
	stop(pid);
}

Test(launcher, one_that_has_ended)
{
	char found[LIBVIRT_SOCKET_SIZE];
	struct errtext err = {0};
	pid_t pid = start(SOCKET);

	stop(pid);
	cr_assert_eq(launcher_enter(pid, NULL, found, &err), -ESRCH);
	cr_assert(strstr(err.text, "there is no process"), "%s", err.text);
}
