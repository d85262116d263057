// SPDX-License-Identifier: Apache-2.0
// The hand-over: who has the guest is decided here. Driving thread only.
#pragma once

struct outgoing;

/* The last moment at which the source decides: nothing has written the guest's memory since it was
 * sent, nobody has called the migration off, libvirt will not resume the guest by itself, and the
 * record says that the destination may own it. Negative errno, recorded. */
int outgoing_handover_commit(struct outgoing *o);
/* The phase: release the guest. 0: it is the destination's. -ECONNABORTED: the destination never
 * ran it, and never will. Others: nobody knows; the phase is lost. */
int outgoing_handover(struct outgoing *o);
