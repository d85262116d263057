// SPDX-License-Identifier: Apache-2.0
// A UNIX socket on the source whose one connection is carried to the destination: libvirt's
// calls (tunnel), and QEMU's stream, whose sender is answered here (return_path.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "door.h"
#include "errtext.h"

struct forward;
struct pacer;

struct forward_options {
	const char *path;	 /* UNIX socket, made here, removed by forward_destroy; copied */
	uid_t owner;		 /* who may connect besides root, and make it; -1: nobody */
	const struct peer *peer; /* outlives the forward */
	enum wire_kind kind;
	/* The connection has ended, or never came about. From a thread of ours. */
	void (*ended)(void *opaque, int result, const char *text);
	void *opaque;
	/* Charged with what goes to the destination; QEMU's stream also waits for it, until
	 * forward_hasten. May be NULL, borrowed. */
	struct pacer *pacer;
	/* QEMU's stream: its sender knows SWITCHOVER_ACK (return_path.h). */
	bool acknowledge;
};

int forward_new(const struct forward_options *options, struct forward **out, struct errtext *err);
/* From now on it does not wait for the pacer, and charges nothing. Any thread. */
void forward_hasten(struct forward *f);
/* Stop waiting, cut both sides. Any thread. */
void forward_cut(struct forward *f);
/* Bytes carried, both ways. Any thread. */
uint64_t forward_bytes(struct forward *f);
void forward_destroy(struct forward *f);
