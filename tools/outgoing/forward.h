// SPDX-License-Identifier: Apache-2.0
// A UNIX socket on the source whose one connection is carried to the destination: libvirt's
// calls (tunnel), and QEMU's stream, whose sender is answered here (return_path.h), and which may
// lose pages on the way (strainer.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "door.h"
#include "errtext.h"

struct forward;
struct pacer;
struct ram_map;
struct strainer_stats;

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
	/* QEMU's stream: the pages of these blocks are dropped, and nothing is read before
	 * forward_go. NULL: all passes, at once. Borrowed, outlives the forward. What cannot be
	 * strained ends it, and is the text of `ended`. */
	const struct ram_map *strain;
	/* QEMU, or libvirt, has connected. From a thread of ours. May be NULL. */
	void (*begun)(void *opaque);
};

int forward_new(const struct forward_options *options, struct forward **out, struct errtext *err);
/* A strained stream is read from now on; or, if QEMU has not connected, once it has. Any thread. */
void forward_go(struct forward *f);
/* From now on it does not wait for the pacer, and charges nothing. Any thread. */
void forward_hasten(struct forward *f);
/* Stop waiting, cut both sides. Any thread. */
void forward_cut(struct forward *f);
/* Bytes carried, both ways. Any thread. */
uint64_t forward_bytes(struct forward *f);
/* What the strainer has done so far; all 0 without one. Any thread. */
void forward_strained(const struct forward *f, struct strainer_stats *out);
void forward_destroy(struct forward *f);
