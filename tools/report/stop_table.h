// SPDX-License-Identifier: Apache-2.0
// A stop as a table of its parts, which follow each other.
//
//   guest runs | stands still                                                                  |
//   runs pause      | drain round last-scan last-bytes device-state verify check record |
//              |                                       network, release load libvirt's finish  |
//
// QEMU saves its devices while the last bytes go: device_state is what that takes beyond. network
// is what of the time between the release and RESUMED neither host accounts for, by half, as
// RESUMED comes back by the same way. Each host measures its own parts, and clocks are never
// compared.
#pragma once

#include <json-c/json.h>
#include <stdint.h>

enum stop_part {
	STOP_PAUSE,	 /* from the decision until QEMU has stopped the guest, which still runs */
	STOP_DRAIN,	 /* QEMU waits for the guest's disks */
	STOP_ROUND,	 /* the round that was under way comes to its end */
	STOP_LAST_SCAN,	 /* the last pass: finding what was written */
	STOP_LAST_BYTES, /* ... sending it, until the destination has it */
	STOP_DEVICE_STATE, /* QEMU here saves the rest of its state */
	STOP_VERIFY,	   /* --verify, post-copy made ready */
	STOP_CHECK,	   /* the last look at the guest's memory */
	STOP_RECORD,	   /* the hand-over is written down here */
	STOP_NETWORK,
	STOP_RELEASE, /* ... and there */
	STOP_LOAD,    /* QEMU there loads its state */
	STOP_FINISH,  /* libvirt lets the guest run there */
	STOP_PARTS
};

/* Microseconds. */
struct stop_table {
	uint64_t part[STOP_PARTS];
	uint64_t predicted_us, downtime_us; /* from QEMU's events, by both clocks */
};

/* All parts in which the guest stood still. */
uint64_t stop_table_sum_us(const struct stop_table *t);
/* Members pause_us, drain_us, ... sum_us, downtime_us, predicted_us. */
void stop_table_put(json_object *o, const struct stop_table *t);
/* For people, in one line: what took a tenth of a millisecond or more. */
#define STOP_TABLE_TEXT 320
const char *stop_table_text(const struct stop_table *t, char text[STOP_TABLE_TEXT]);
