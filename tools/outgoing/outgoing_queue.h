// SPDX-License-Identifier: Apache-2.0
// Waiting for one's turn: so many migrations at once leave a host, and come to one. Driving thread
// only; negative errno, recorded.
#pragma once

struct outgoing;
struct wire_message;

/* Wait for our turn on this host. */
int outgoing_queue_here(struct outgoing *o);
/* The destination has us wait for our turn there, or accepts the guest at once. */
int outgoing_queue_there(struct outgoing *o);
/* QUEUED: so many are before us there. */
void outgoing_queue_take(struct outgoing *o, struct wire_message *m);
void outgoing_queue_leave(struct outgoing *o);
