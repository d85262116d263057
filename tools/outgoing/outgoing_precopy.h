// SPDX-License-Identifier: Apache-2.0
// Pre-copy: rounds while the guest runs, until convergence.h says what to do next. Driving thread
// only.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "convergence.h"
#include "progress.h"
#include "steering.h"
#include "throttle.h"

struct outgoing;

struct outgoing_precopy {
	struct steering_limits limits; /* as they are now */
	struct convergence convergence;
	struct progress progress;
	struct throttle *throttle; /* NULL until the vCPUs are slowed */
	unsigned int throttle_percent, most_throttled;
	bool unthrottleable;
	bool paused;	   /* the guest is stopped for as long as the last pass takes */
	uint64_t fixed_us; /* of a stop, as estimated after the latest round */
	uint64_t begun_us; /* CLOCK_MONOTONIC */
};

/* The phase. Negative errno, recorded. */
int outgoing_precopy(struct outgoing *o);
/* The downtime to be expected if the guest is stopped now, in microseconds. */
uint64_t outgoing_precopy_predicted_us(const struct outgoing *o);
/* Time without progress is a time-out of its own. remaining: bytes still to be sent. */
void outgoing_precopy_check_progress(struct outgoing *o, uint64_t now_us, uint64_t remaining);
/* The guest's vCPUs run free, for as long as the migration may still slow them. */
void outgoing_precopy_free_vcpus(struct outgoing *o);
/* ... and for good. */
void outgoing_precopy_release(struct outgoing *o);
