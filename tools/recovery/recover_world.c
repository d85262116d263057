// SPDX-License-Identifier: Apache-2.0
// The world as it is.
#include "recover_world.h"

#include <unistd.h>
#include "clock.h"
#include "monitor_log.h"
#include "process.h"
#include "process_thread.h"
#include "ram_find.h"

static void pause_for(uint64_t for_us)
{
	usleep((useconds_t)for_us);
}

static const struct recover_world real = {
	.ask = ownership_ask,
	.reopen_ram = ram_reopen,
	.reopen_found = ram_reopen_found,
	.find_ram = ram_find,
	.reopen_ended = ram_reopen_ended,
	.hold_qemu = ram_keep_hold_qemu,
	.signal_process = process_signal,
	.process_has_ended = process_has_ended,
	.resume_link = page_link_resume,
	.judge_link = page_link_judge,
	.destroy_link = page_link_destroy,
	.run_server = server_run,
	.find_qemu = monitor_log_find_qemu,
	.is_qemu = process_thread_is_qemu,
	.end_unless_resumed = monitor_log_end_unless_resumed,
	.quiet_monitor = monitor_log_quiet,
	.now_us = clock_monotonic_us,
	.pause = pause_for,
};

const struct recover_world *recover_world_real(void)
{
	return &real;
}
