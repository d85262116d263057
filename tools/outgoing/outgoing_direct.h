// SPDX-License-Identifier: Apache-2.0
// The direct lane: dray moves the guest's RAM itself, QEMU its device state only.
#pragma once

#include "outgoing_lane.h"

extern const struct outgoing_lane outgoing_direct;
/* Its first steps only, until libvirt there has started the guest's QEMU; then all is undone, and
 * the guest has noticed nothing. Whatever the destination would refuse has been asked by then. */
extern const struct outgoing_lane outgoing_direct_trial;
