// SPDX-License-Identifier: Apache-2.0
// How long the parts of a stop take that lie on this host, from RELEASE until the guest runs.
#include "incoming_private.h"

#include "clock.h"

void incoming_arrival_note_release(struct incoming *in)
{
	in->arrival.released_us = clock_realtime_us();
}

void incoming_arrival_note_let_go(struct incoming *in)
{
	in->arrival.let_go_us = clock_realtime_us();
}

void incoming_arrival_note_loaded(struct incoming *in, uint64_t time_us)
{
	in->arrival.loaded_us = time_us;
}

/* QEMU may have got on before we noted what let it. */
static uint64_t between(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

void incoming_arrival_tell(struct incoming *in, uint64_t resumed_us)
{
	const struct incoming_arrival *a = &in->arrival;
	struct wire_message m = {.type = WIRE_ARRIVAL};
	uint64_t loaded = a->loaded_us > a->let_go_us ? a->loaded_us : a->let_go_us;

	if (!(in->features & WIRE_FEATURE_ARRIVAL) || !a->let_go_us)
		return;
	m.arrival.release_us = between(a->released_us, a->let_go_us);
	m.arrival.load_us = loaded - a->let_go_us;
	m.arrival.finish_us = between(loaded, resumed_us);
	m.arrival.told_us = between(resumed_us, clock_realtime_us());
	control_send(in->control, &m);
}
