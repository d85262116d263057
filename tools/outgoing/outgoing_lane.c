// SPDX-License-Identifier: Apache-2.0
// A lane as the source takes it: walked down, and up again.
#include "outgoing_lane.h"

#include <stdint.h>
#include "outgoing_private.h"

static void roll_back(struct outgoing *o, const struct outgoing_lane *lane, uint32_t begun)
{
	outgoing_guest_look(o);
	outgoing_status_enter(o, PHASE_ROLLBACK);
	for (size_t i = lane->count; i-- > 0;)
		if (begun >> i & 1 && lane->steps[i].undo)
			lane->steps[i].undo(o);
	outgoing_status_enter(o, o->cancelled ? PHASE_ABORTED : PHASE_FAILED);
}

void outgoing_lane_walk(struct outgoing *o, const struct outgoing_lane *lane)
{
	uint32_t begun = 0;
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < lane->count; i++) {
		const struct outgoing_step *step = &lane->steps[i];

		if (step->wanted && !step->wanted(o))
			continue;
		if (step->phase != OUTGOING_SAME_PHASE)
			outgoing_status_enter(o, step->phase);
		begun |= 1u << i;
		ret = step->run(o);
	}
	if (ret == 0)
		outgoing_status_enter(o, PHASE_COMPLETED);
	else if (!phase_is_final(o->phase))
		roll_back(o, lane, begun);
}
