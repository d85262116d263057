// SPDX-License-Identifier: Apache-2.0
// The world as it is.
#include "outgoing_world.h"

#include <unistd.h>
#include "added_monitor.h"
#include "attach.h"
#include "clock.h"
#include "digest.h"
#include "guard.h"
#include "process.h"
#include "ram_find.h"

static void pause_for(uint64_t for_us)
{
	usleep((useconds_t)for_us);
}

static const struct outgoing_world real = {
	.now_us = clock_monotonic_us,
	.pause = pause_for,
	.take_mail = mailbox_take,
	.check_process = guest_check_process,
	.check_guest = guest_check,
	.check_locked = guest_check_locked,
	.other_mappers = ram_other_mappers,
	.hold_process = process_hold,
	.process_has_ended = process_has_ended,
	.signal_process = process_signal,
	.open_monitor = qmp_open,
	.add_monitor = added_monitor_open,
	.disks = {disk_flight_look, qmp_drain_io},
	.join_queue = slot_join,
	.open_dir = guest_dir_open,
	.write_record = record_write,
	.read_record = record_read,
	.remove_record = record_remove,
	.forget_monitor = record_forget_monitor,
	.start_guard = guard_start,
	.lend_to_guard = guard_lend,
	.dial = door_dial,
	.ask = ownership_ask,
	.control = {control_new, control_send, control_set_silence, control_clock, control_is_up,
		    control_destroy},
	.gate = {gate_new, gate_open, gate_forbid, gate_permit, gate_share, gate_cut, gate_destroy},
	.forward = {forward_new, forward_go, forward_hasten, forward_cut, forward_bytes,
		    forward_destroy},
	.job = {libvirt_job_start, libvirt_job_join},
	.borrow_userfaultfd = attach_userfaultfd,
	.tracker = {tracker_new, tracker_destroy},
	.source = {source_new, source_round_start, source_hurry, source_abort, source_stats,
		   source_destroy},
	.throttle = {throttle_new, throttle_set, throttle_result, throttle_destroy},
	.digest = digest_ram,
	.link = {page_link_new, page_link_serve, page_link_push, page_link_stats, page_link_bytes,
		 page_link_result, page_link_proof, page_link_judge, page_link_destroy},
};

const struct outgoing_world *outgoing_world_real(void)
{
	return &real;
}
