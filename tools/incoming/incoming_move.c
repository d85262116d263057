// SPDX-License-Identifier: Apache-2.0
// A session moves from state to state.
#include "incoming_private.h"

void incoming_move(struct incoming *in, enum incoming_state to)
{
	incoming_state_move(&in->state, to, in->prepare.name);
	incoming_live_show(in);
}

void incoming_move_after(struct incoming *in, enum incoming_cause cause)
{
	enum incoming_state to = incoming_state_after(in->state, cause);

	if (to != in->state)
		incoming_move(in, to);
}
