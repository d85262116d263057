// SPDX-License-Identifier: Apache-2.0
// The lanes by name: the ways for a guest's RAM to travel. Users, events and history know them by
// these words; how the source takes a lane is a table in tools/outgoing (outgoing_lane.h).
#pragma once

#define LANE_AUTO "auto" /* the first that the guest allows */
#define LANE_DIRECT "direct"
