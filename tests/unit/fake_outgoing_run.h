// SPDX-License-Identifier: Apache-2.0
// A migration in the world of fake_outgoing.h, from its beginning to what must hold at its end.
#pragma once

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cleanup.h"
#include "exit_status.h"

/* ---- before and after ---- */

static inline void world_setup(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	world = (struct world){.fail_code = -EIO,
			       .ram_fd = -1,
			       .pages = {[SOURCE_ROUND_LIVE] = 10, [SOURCE_ROUND_LAST] = 5},
			       .link_end = PAGE_LINK_COMPLETE,
			       .guard = {-1, -1},
			       .round_us = 1000,
			       .now_us = 1000000};
	strcpy(world.dir, "/dev/shm/dray-world-XXXXXX"); /* no disk */
	cr_assert_not_null(mkdtemp(world.dir));
	world.libvirt = fake_libvirt_new("/here");
	world.libvirt->before = world_before_libvirt;
	world.web = fake_libvirt_add(world.libvirt, "web", WORLD_UUID, DOMAIN_RUNNING);
	world.web->info.persistent = true;
	world.web->xml = world.web->stored_xml =
		"<domain type='kvm'><name>web</name><devices/></domain>";
	world.out = open_memstream(&world.said, &world.said_size);
}

static inline void world_options(struct outgoing_options *o)
{
	outgoing_defaults(o);
	o->world = &world_functions;
	o->domain = "web";
	o->destination = "there";
	o->streams = WORLD_STREAMS;
	o->resolve_ms = 0; /* one question */
}

/* As fast as the network takes it: pre-copy gets nowhere. */
static inline void world_writes_fast(void)
{
	world.pages[SOURCE_ROUND_LIVE] = 900;
	world.round_us = 500000;
}

static inline int world_run(const struct outgoing_options *options)
{
	FILE *standard = stdout;
	char done[8] = "";
	int status;

	stdout = world.out; /* where the report goes */
	world.report = (struct report){.json = true};
	cr_assert_eq(steering_new(false, &options->limits, &world.steering, NULL), 0);
	status = outgoing_run(options, world.steering, &world.report, &world.result,
			      &world.may_pass);
	stdout = standard;
	if (world.guard[0] >= 0) {
		ssize_t n = read(world.guard[0], done, sizeof(done));

		world.guard_dismissed = n == 4;
		world.guard_begins = n == 0;
	}
	return status;
}

/* What must be so however a migration ends, and whatever it says. */
static inline void world_judge(int status)
{
	bool gone = world.web->info.state == DOMAIN_ABSENT;
	bool guarded = world.guard[0] >= 0;

	cr_expect_not(world_runs_here() && world.lives_there, "it runs twice: %s", world.trace);
	cr_expect_not(gone && !world.lives_there, "it runs nowhere: %s", world.trace);
	switch (status) {
	case EXIT_COMPLETED:
		cr_expect(world.lives_there, "%s", world.trace);
		cr_expect_str_eq(world.result.guest_on, "destination");
		cr_expect_str_eq(world.result.result, "completed");
		break;
	case EXIT_REFUSED:
		cr_expect_not(guarded);
		cr_expect_str_eq(world.trace, world.given_up_there ? "ABORT" : "");
		/* fall through */
	case EXIT_FAILED:
	case EXIT_ABORTED:
		cr_expect_not(world.lives_there, "%s", world.trace);
		cr_expect_str_eq(world.result.guest_on, !world.result.uuid[0] ? "unknown"
							: world.qemu_ended    ? "none"
									      : "source");
		cr_expect_str_eq(world.result.result,
				 status == EXIT_ABORTED ? "aborted" : "failed");
		cr_expect_eq(world.may_pass && status == EXIT_ABORTED, false);
		break;
	default:
		cr_expect_eq(status, EXIT_OPERATOR);
		cr_expect_str_eq(world.result.result, "lost");
	}
	/* The guard takes over exactly what is still on record. */
	if (guarded) {
		cr_expect_eq(world.guard_dismissed, !world.recorded, "%s", world.trace);
		cr_expect_eq(world.guard_begins, world.recorded, "%s", world.trace);
	}
	/* Nothing of a migration that has been settled stays behind. */
	if (!world.recorded && !gone) {
		cr_expect_not(world.web->ignore_shared, "%s", world.trace);
		cr_expect(world.paused_by_user || world.web->info.state != DOMAIN_PAUSED_MIGRATION,
			  "%s", world.trace);
	}
}

static inline void world_empty(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' || e->d_name[1] > '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

static inline void world_teardown(void)
{
	char outbound[64];

	steering_destroy(world.steering);
	if (!world.hung_library) {
		cr_expect_eq(world.alive, 0, "%d things were not given back", world.alive);
		fake_libvirt_destroy(world.libvirt);
	}
	cleanup_close(&world.guard[0]);
	fclose(world.out);
	free(world.said);
	snprintf(outbound, sizeof(outbound), "%s/outbound", world.dir);
	world_empty(outbound);
	world_empty(world.dir);
}
