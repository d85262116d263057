// SPDX-License-Identifier: Apache-2.0
// The stop: from the gate's opening to the last page, and the times between which the guest ran on
// no host. Driving thread only; negative errno, recorded.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mail;
struct outgoing;
struct wire_message;

struct outgoing_stop {
	bool at_rest;	/* the guest does not run, and its disk I/O is drained */
	bool completed; /* QEMU's migration: all devices are saved, and it cannot be cancelled */
	bool resumed;	/* the destination runs the guest */
	/* CLOCK_REALTIME here, of QEMU's events STOP and RESUME; 0: there was none */
	uint64_t stop_us, resume_us;
	/* CLOCK_MONOTONIC, of when we heard of them; the same */
	uint64_t since_us, resumed_us;
};

/* The phase in which QEMU comes to stop the guest. */
int outgoing_stop_switchover(struct outgoing *o);
/* The phase after that, with the guest stopped. */
int outgoing_stop_last_pass(struct outgoing *o);

/* The destination has the guest, though its RESUMED was not heard. */
void outgoing_stop_note_resumed(struct outgoing *o);

/* MAIL_QEMU_EVENT, of the QEMU here; RESUMED, of the one there */
void outgoing_stop_take_event(struct outgoing *o, struct mail *mail);
void outgoing_stop_take_resumed(struct outgoing *o, struct wire_message *m);
