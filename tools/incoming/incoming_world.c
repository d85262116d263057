// SPDX-License-Identifier: Apache-2.0
// The world as it is.
#include "incoming_world.h"

#include <unistd.h>
#include "attach.h"
#include "clock.h"
#include "guard.h"
#include "libvirt_host.h"
#include "monitor_log.h"
#include "process_thread.h"
#include "ram_find.h"

static void pause_for(uint64_t for_us)
{
	usleep((useconds_t)for_us);
}

static const struct incoming_world real = {
	.open_host = host_open,
	.look_at_memory_dir = memory_dir_look,
	.look_at_memory = host_memory_look,
	.join_queue = slot_join,
	.open_dir = guest_dir_open,
	.find_record = record_find,
	.start_guard = guard_start,
	.open_monitor = qmp_open,
	.is_qemu = process_thread_is_qemu,
	.find_ram = ram_find_known,
	.borrow_userfaultfd = attach_userfaultfd,
	.find_userfaultfd = attach_find_inside,
	.close_userfaultfd = attach_close_inside,
	.drop_memory = attach_drop,
	.end_unless_resumed = monitor_log_end_unless_resumed,
	.now_us = clock_monotonic_us,
	.pause = pause_for,
	.take_mail = mailbox_take,
};

const struct incoming_world *incoming_world_real(void)
{
	return &real;
}

int incoming_world_try_dir(const struct incoming_world *world, const char *uuid,
			   struct errtext *err)
{
	struct guest_dir dir;
	int ret = world->open_dir(&dir, uuid, -1, -1, err);

	if (ret == 0)
		guest_dir_close(&dir);
	return ret;
}
