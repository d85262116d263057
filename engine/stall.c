// SPDX-License-Identifier: Apache-2.0
// Has pre-copy stalled? See stall.h for the rules.
#include "stall.h"

#include <stdbool.h>
#include "saturating.h"

/* Is value less than percent of whole? */
static bool below(uint64_t value, unsigned int percent, uint64_t whole)
{
	return (unsigned __int128)value * 100 < (unsigned __int128)whole * percent;
}

static void mark_low(struct stall *s, const struct stall_round *round)
{
	s->low_bytes = round->found_bytes;
	s->low_us = round->elapsed_us;
	s->low_rounds = 0;
}

static void note_low(struct stall *s, const struct stall_round *round)
{
	if (s->rounds == 0 || s->settle || below(round->found_bytes, STALL_PERCENT, s->low_bytes))
		mark_low(s, round);
	else
		s->low_rounds++;
}

/* The first round found all memory and has no round before it: it tells nothing of the guest. */
static void note_pace(struct stall *s, const struct stall_round *round)
{
	bool outpaced = s->rounds > 0 && round->found_bytes >= STALL_SMALL_BYTES &&
			!below(round->remaining_bytes, STALL_PERCENT, round->found_bytes);

	if (!outpaced || s->settle)
		s->outpaced_us = 0;
	else
		s->outpaced_us = saturating_add(s->outpaced_us, round->duration_us);
}

static enum stall_kind judge(const struct stall *s, const struct stall_round *round)
{
	if (s->outpaced_us >= STALL_US)
		return STALL_OUTPACED;
	if (s->low_rounds < STALL_ROUNDS || round->elapsed_us - s->low_us < STALL_US)
		return STALL_NONE;
	if (round->found_bytes >= STALL_SMALL_BYTES &&
	    below(round->remaining_bytes, 75, round->found_bytes))
		return STALL_NONE;
	return STALL_STALE;
}

void stall_note(struct stall *s, const struct stall_round *round)
{
	if (s->settle)
		s->settle--;
	note_low(s, round);
	note_pace(s, round);
	if (s->rounds > 0)
		s->recent[(s->rounds - 1) % STALL_RECENT] = round->found_bytes;
	s->rounds++;
	s->kind = judge(s, round);
}

void stall_restart(struct stall *s)
{
	s->settle = STALL_SETTLE_ROUNDS;
	s->outpaced_us = 0;
	s->low_rounds = 0;
	s->kind = STALL_NONE;
}

uint64_t stall_recent_least(const struct stall *s)
{
	uint32_t count = s->rounds > 0 ? s->rounds - 1 : 0;
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < count && i < STALL_RECENT; i++)
		if (s->recent[i] < least)
			least = s->recent[i];
	return least;
}
