// SPDX-License-Identifier: Apache-2.0
// A guest whose memory QEMU sends itself: when QEMU's stream is read, when QEMU may stop the guest,
// and how the memory arrives. Driving thread only.
//
// QEMU sends all memory once while the guest runs, then again what was written meanwhile, until it
// expects to be through with the rest within its permitted downtime. All of that ends in the
// strainer (strainer.h), as fast as QEMU can push it, and dray's own rounds go on beside it.
// Nothing is read before the permitted downtime has been set, so QEMU cannot stop the guest
// earlier.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct errtext;
struct mail;
struct outgoing;

struct outgoing_strain {
	unsigned int before_ms;	  /* permitted to QEMU before */
	unsigned int downtime_ms; /* ... and by us; 0: not yet */
	uint64_t raise_us;	  /* when it is raised next */
};

/* The destination is prepared: shall private memory become shared there? -ENOTSUP, recorded: it
 * shall not, and the destination knows nothing else. */
int outgoing_strain_choose(struct outgoing *o);
/* Before libvirt's job: what is there to be given back? Negative errno; the text is set. */
int outgoing_strain_prepare(struct outgoing *o);
/* The guest stays: QEMU's own migrations may stop it for as long as before. libvirt has seen to
 * that unless our word came after its own. The same. */
int outgoing_strain_restore(struct outgoing *o, struct errtext *err);
/* MAIL_QEMU_SENDS: QEMU has connected, and its migration job in libvirt is under way. */
void outgoing_strain_take_begun(struct outgoing *o, struct mail *mail);
/* MAIL_QEMU_STREAM. Of a guest that is not strained it is no matter: QEMU's migration fails then,
 * and the job's end tells. */
void outgoing_strain_take_end(struct outgoing *o, struct mail *mail);
/* From time to time until the guest stands still: a guest that writes faster than QEMU looks needs
 * a longer stop. */
void outgoing_strain_raise(struct outgoing *o);
/* How long QEMU may take, at least, to send all memory once; 0 if it does not. Milliseconds. */
uint64_t outgoing_strain_patience_ms(const struct outgoing *o);
