// SPDX-License-Identifier: Apache-2.0
// Carrying on a post-copy whose dray has ended.
//
// What is needed outlived it: the record, the set of owed pages, a file, and the userfaultfd inside
// QEMU. The guest's vCPUs have waited meanwhile, or run on what they had.
#include "incoming_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>
#include "attach.h"
#include "clock.h"
#include "guard.h"
#include "ram_find.h"

#define SILENCE_MS 10000

static bool is_of_session(struct incoming *in, const char *uuid, const char *session)
{
	uuid_t bytes;

	if (uuid_parse(uuid, bytes) < 0)
		return false;
	guest_dir_paths(&in->dir, uuid);
	if (record_read(&in->dir, RECORD_INCOMING, &in->record, NULL) < 0)
		return false;
	if (strcmp(in->record.session, session) == 0)
		return true;
	record_destroy(&in->record);
	return false;
}

/* Fills in->record and the paths. */
static int find_record(struct incoming *in)
{
	char session[2 * WIRE_SESSION_SIZE + 1];
	DIR *dir = opendir(GUEST_DIR_ROOT);
	const struct dirent *entry;
	int ret = -ENOENT;

	guest_dir_session(in->session, session);
	while (dir && ret < 0 && (entry = readdir(dir)))
		if (is_of_session(in, entry->d_name, session))
			ret = 0;
	if (dir)
		closedir(dir);
	in->dir.lock = -1;
	return ret < 0 ? errtext_set(&in->err, ret,
				     "nothing is known of this migration on the destination: was "
				     "it rebooted? The guest's memory is then lost")
		       : 0;
}

static int reach_qemu(struct incoming *in)
{
	struct destination_options options = {.ram = &in->ram, .running = true};
	int ret = host_qemu_pid(in->host, in->uuid, &in->qemu, &in->err);

	if (ret == 0)
		ret = qmp_open(in->dir.monitor, ANSWER_MS, &in->monitor, &in->err);
	if (ret == 0)
		ret = ram_find(in->qemu, true, &in->ram, &in->err);
	if (ret == 0)
		ret = owed_open(in->dir.owed, &in->ram, &in->owed, &in->err);
	if (ret == 0)
		ret = destination_new(&options, &in->destination, &in->err);
	if (ret == 0)
		ret = attach_find_inside(in->qemu, &in->uffd, &in->uffd_inside, &in->err);
	return ret;
}

static int take_over(struct incoming *in)
{
	int ret = incoming_new_handlers(in);

	if (ret < 0)
		return ret;
	in->resumed = in->record.resumed;
	in->prepare.running = true;
	in->prepare.silence_ms = SILENCE_MS;
	destination_place(in->destination, in->placer);
	in->released_us = clock_monotonic_us();
	return placer_begin(in->placer, &in->err);
}

/* The guest may have been destroyed meanwhile, or have ended. */
static int check_guest(struct incoming *in)
{
	struct domain_info info;
	int ret = host_state(in->host, in->uuid, &info, &in->err);

	if (ret < 0)
		return ret;
	if (info.state == DOMAIN_ABSENT || info.state == DOMAIN_SHUT_OFF)
		return errtext_set(&in->err, -ENOENT,
				   "the guest has ended on the destination, before all of its "
				   "memory had come");
	if (info.state == DOMAIN_RUNNING || info.state == DOMAIN_PAUSED_USER)
		in->record.resumed = true;
	return 0;
}

int incoming_adopt(struct incoming *in, struct errtext *err)
{
	int ret = find_record(in);

	(void)err;
	in->released = true; /* whatever fails here, nothing inside QEMU is to be undone */
	if (ret < 0)
		return ret;
	snprintf(in->uuid, sizeof(in->uuid), "%s", in->record.uuid);
	snprintf(in->prepare.name, sizeof(in->prepare.name), "%s", in->record.domain);
	if (in->record.complete) {
		in->complete = true; /* only the answer was lost */
		return -EALREADY;
	}
	ret = host_open(in->receiver->opt.libvirt_socket, &in->host, &in->err);
	if (ret == 0)
		ret = guest_dir_open(&in->dir, in->uuid, -1, -1, &in->err);
	if (ret == 0)
		ret = check_guest(in);
	if (ret == 0)
		ret = reach_qemu(in);
	if (ret == 0)
		ret = incoming_watch_monitor(in);
	if (ret == 0)
		ret = take_over(in);
	if (ret == 0)
		ret = guard_start(in->uuid, in->receiver->opt.libvirt_socket, NULL, &in->guard,
				  NULL, &in->err);
	return ret;
}
