// SPDX-License-Identifier: Apache-2.0
// The stop: from the gate's opening to the last page, and the times between which the guest ran on
// no host. Driving thread only; negative errno, recorded.
#pragma once

struct mail;
struct outgoing;
struct wire_message;

/* The phase in which QEMU comes to stop the guest. */
int outgoing_stop_switchover(struct outgoing *o);
/* The phase after that, with the guest stopped. */
int outgoing_stop_last_pass(struct outgoing *o);

/* MAIL_QEMU_EVENT, of the QEMU here; RESUMED, of the one there */
void outgoing_stop_take_event(struct outgoing *o, struct mail *mail);
void outgoing_stop_take_resumed(struct outgoing *o, struct wire_message *m);
