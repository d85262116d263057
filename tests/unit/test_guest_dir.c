// SPDX-License-Identifier: Apache-2.0
// A guest's directory, on a /run of the test's own.
#include "guest_dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "own_run.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"

TestSuite(guest_dir, .timeout = 20);

static struct guest_dir open_it(void)
{
	struct errtext err = {0};
	struct guest_dir d;

	cr_assert_eq(guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err), 0, "%s", err.text);
	cr_assert_geq(d.lock, 0);
	return d;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s: %s", path, strerror(errno));
	return st.st_mode & 07777;
}

Test(guest_dir, paths_touch_nothing)
{
	struct guest_dir d;

	own_run();
	guest_dir_paths(&d, UUID);
	cr_assert_str_eq(d.path, "/run/dray/" UUID);
	cr_assert_str_eq(d.gate, "/run/dray/" UUID "/gate.sock");
	cr_assert_str_eq(d.tunnel, "/run/dray/" UUID "/tunnel.sock");
	cr_assert_str_eq(d.control, "/run/dray/" UUID "/control.sock");
	cr_assert_str_eq(d.incoming_control, "/run/dray/" UUID "/incoming.sock");
	cr_assert_str_eq(d.stream, "/run/dray/" UUID "/qemu/stream.sock");
	cr_assert_str_eq(d.monitor, "/var/lib/libvirt/qemu/dray-" UUID ".monitor");
	cr_assert_eq(d.lock, -1);
	cr_assert_lt(access("/run/dray", F_OK), 0);
}

Test(guest_dir, qemu_of_a_users_own_daemon_has_its_sockets_there)
{
	struct guest_dir d;

	guest_dir_paths(&d, UUID);
	guest_dir_set_sockets(&d, "");
	cr_assert_str_eq(d.stream, "/run/dray/" UUID "/qemu/stream.sock");
	guest_dir_set_sockets(&d, "/run/libvirt");
	cr_assert_str_eq(d.stream, "/run/libvirt/dray-" UUID ".stream");
	cr_assert_str_eq(d.monitor, "/run/libvirt/dray-" UUID ".monitor");
	cr_assert_str_eq(d.path, "/run/dray/" UUID, "dray's own stays the host's");
	cr_assert_str_eq(d.gate, "/run/dray/" UUID "/gate.sock");
}

Test(guest_dir, others_may_pass_but_not_look)
{
	struct errtext err = {0};
	struct guest_dir d;
	struct stat st;

	own_run();
	cr_assert_eq(guest_dir_open(&d, UUID, 1234, 4321, &err), 0, "%s", err.text);
	cr_assert_eq(mode_of("/run/dray"), 0711);
	cr_assert_eq(mode_of(d.path), 0711);
	cr_assert_eq(mode_of("/run/dray/" UUID "/qemu"), 0700);
	cr_assert_eq(mode_of("/run/dray/" UUID "/lock"), 0600);
	cr_assert_eq(stat("/run/dray/" UUID "/qemu", &st), 0);
	cr_assert_eq(st.st_uid, 1234);
	cr_assert_eq(st.st_gid, 4321);
	guest_dir_close(&d);
}

Test(guest_dir, one_dray_a_guest)
{
	struct errtext err = {0};
	struct guest_dir first, second;

	own_run();
	first = open_it();
	cr_assert_eq(guest_dir_open(&second, UUID, (uid_t)-1, (gid_t)-1, &err), -EBUSY);
	cr_assert(strstr(err.text, "another dray"), "%s", err.text);
	guest_dir_close(&second); /* holds nothing: the first keeps its lock */
	cr_assert_eq(guest_dir_open(&second, UUID, (uid_t)-1, (gid_t)-1, NULL), -EBUSY);
	guest_dir_close(&first);
	cr_assert_eq(first.lock, -1);
	second = open_it();
	guest_dir_close(&second);
}

static void put(const char *path)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	fclose(f);
}

Test(guest_dir, goes_with_the_last_thing_of_use)
{
	static const char *const useful[] = {"incoming", "outgoing", "owed"};
	struct guest_dir d;
	char path[128];

	own_run();
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/run/dray/" UUID "/%s", useful[i]);
		d = open_it();
		put(path);
		guest_dir_close(&d);
		cr_assert_eq(access(path, F_OK), 0);
		d = open_it();
		unlink(path);
		put(d.stream);
		guest_dir_close(&d);
		cr_assert_lt(access(d.path, F_OK), 0);
	}
	cr_assert_eq(access("/run/dray", F_OK), 0);
}

/* The control socket is served without the lock. */
Test(guest_dir, goes_when_the_last_user_has_done)
{
	struct guest_dir d;

	own_run();
	d = open_it();
	put(d.control);
	guest_dir_close(&d);
	cr_assert_eq(access(d.control, F_OK), 0);
	unlink(d.control);
	guest_dir_tidy(UUID);
	cr_assert_lt(access(d.path, F_OK), 0);
	guest_dir_tidy(UUID);
	cr_assert_lt(access(d.path, F_OK), 0, "nothing is made for that");
}

#define ROUNDS 3000

static void *open_and_close(void *arg)
{
	atomic_int *inside = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct errtext err = {0};
		struct guest_dir d;
		int ret = guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err);

		cr_assert(ret == 0 || ret == -EBUSY, "%s", err.text);
		if (ret < 0)
			continue;
		cr_assert_eq(atomic_fetch_add(inside, 1), 0, "two have the lock");
		cr_assert_eq(access(d.path, F_OK), 0);
		atomic_fetch_sub(inside, 1);
		guest_dir_close(&d);
	}
	return NULL;
}

Test(guest_dir, one_at_a_time_though_it_goes_each_time)
{
	pthread_t threads[3];
	atomic_int inside = 0;

	own_run();
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, &inside), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_lt(access("/run/dray/" UUID, F_OK), 0);
}

Test(guest_dir, what_is_in_the_way_is_named)
{
	struct errtext err = {0};
	struct guest_dir d;
	FILE *f;

	own_run();
	f = fopen("/run/dray", "w");
	cr_assert_not_null(f);
	fclose(f);
	cr_assert_eq(guest_dir_open(&d, UUID, (uid_t)-1, (gid_t)-1, &err), -ENOTDIR);
	cr_assert(strstr(err.text, "/run/dray/" UUID), "%s", err.text);
}
