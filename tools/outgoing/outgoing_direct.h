// SPDX-License-Identifier: Apache-2.0
// The direct lane: dray moves the guest's RAM itself, QEMU its device state only.
#pragma once

#include "outgoing_lane.h"

extern const struct outgoing_lane outgoing_direct;
