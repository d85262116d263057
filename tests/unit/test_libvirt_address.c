// SPDX-License-Identifier: Apache-2.0
// A libvirt daemon's socket: what can be told of it without asking the daemon.
#include "libvirt_address.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(libvirt_address, .timeout = 20);

static char dir[] = "/tmp/dray-address-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int listen_there(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_not_null(mkdtemp(dir));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", dir);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 4), 0);
	return fd;
}

static void tidy(int fd)
{
	close(fd);
	unlink(address.sun_path);
	rmdir(dir);
}

Test(libvirt_address, candidates)
{
	char path[LIBVIRT_SOCKET_SIZE], longest[LIBVIRT_SOCKET_SIZE];

	cr_assert_str_eq(libvirt_address_candidate(0, NULL, path), "/run/libvirt/libvirt-sock");
	cr_assert_str_eq(libvirt_address_candidate(1, NULL, path), "/run/libvirt/virtqemud-sock");
	cr_assert_str_eq(libvirt_address_candidate(1, "/run/user/7", path),
			 "/run/user/7/libvirt/virtqemud-sock");
	cr_assert_null(libvirt_address_candidate(2, NULL, path));
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	cr_assert_null(libvirt_address_candidate(0, longest, path), "never cut short");
}

Test(libvirt_address, uris)
{
	struct libvirt_address a = {.socket = "/run/libvirt/virtqemud-sock"};
	char uri[LIBVIRT_URI_SIZE];

	libvirt_address_uri(&a, uri);
	cr_assert_str_eq(uri, "qemu+unix:///system?socket=/run/libvirt/virtqemud-sock");
	a.session = true;
	libvirt_address_uri(&a, uri);
	cr_assert_str_eq(uri, "qemu+unix:///session?socket=/run/libvirt/virtqemud-sock");
}

Test(libvirt_address, who_listens)
{
	struct libvirt_address a;
	struct errtext err = {0};
	int fd = listen_there();

	cr_assert_eq(libvirt_address_look(address.sun_path, &a, &err), 0, "%s", err.text);
	cr_assert_eq(a.pid, getpid());
	cr_assert_eq(a.uid, geteuid());
	cr_assert_eq(a.session, geteuid() != 0);
	cr_assert_str_eq(a.socket, address.sun_path);
	close(fd);
	cr_assert_eq(libvirt_address_look(address.sun_path, &a, &err), -ECONNREFUSED);
	cr_assert(strstr(err.text, "does not answer"), "%s", err.text);
	tidy(-1);
}

/* It names a user's directory for as long as that is there, and nothing of the system's. */
Test(libvirt_address, identity)
{
	uint8_t first[16], again[16], other[16];
	int fd = listen_there();
	char moved[64];

	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(libvirt_address_identity(address.sun_path, first), -ENOENT, "root's");
	cr_assert_eq(chown(dir, 4711, 4711), 0);
	cr_assert_eq(libvirt_address_identity(address.sun_path, first), 0);
	cr_assert_eq(unlink(address.sun_path), 0);
	cr_assert_eq(libvirt_address_identity(address.sun_path, again), 0, "no daemon is asked");
	cr_assert_arr_eq(first, again, sizeof(first));
	snprintf(moved, sizeof(moved), "%s.moved", dir);
	cr_assert_eq(rename(dir, moved), 0);
	cr_assert_eq(libvirt_address_identity(address.sun_path, again), -ENOENT);
	cr_assert_eq(mkdir(dir, 0755), 0);
	cr_assert_eq(chown(dir, 4711, 4711), 0);
	cr_assert_eq(libvirt_address_identity(address.sun_path, other), 0);
	cr_assert_arr_neq(first, other, sizeof(first));
	rmdir(moved);
	tidy(fd);
}
