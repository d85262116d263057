// SPDX-License-Identifier: Apache-2.0
// Does a guest's QEMU wait for SWITCHOVER_ACK in any case, before it stops the guest for its
// migration?
//
// The capability switchover-ack lets the destination's devices say when they are ready, over the
// return path. There are two ways to count them, and QEMU does not tell which one it follows:
//
//   QEMU 7.2             does not know the capability
//   QEMU 8.1 to 11.0     one acknowledgement, from the destination, stands for all devices: it is
//                        waited for, even if no device has anything to say
//   QEMU 11.1 and newer  as many as the source's devices ask for. None is asked for by the devices
//                        of a direct lane's guest. One that comes all the same is counted down from
//                        none, below zero, and QEMU then waits for ever (seen with 11.1.3)
//   ... with a machine   as 8.1 to 11.0: those types turn on the property switchover-ack-legacy of
//   type before 11.1     QEMU's object "migration", which the monitor does not show; but it shows
//                        what a machine type turns on
//
// libvirt turns the capability on where both QEMUs know it. If it has not, an acknowledgement does
// no harm.
//
// Through libvirt's monitor, so not during a migration job. Any thread that alone uses the host.
#pragma once

#include <stdbool.h>
#include "errtext.h"
#include "host.h"

int switchover_ack_is_awaited(struct host *h, const char *uuid, bool *awaited, struct errtext *err);
