// SPDX-License-Identifier: Apache-2.0
// The progress time-out. See progress.h.
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>

#define US_PER_S 1000000u
#define MIB (1024.0 * 1024)

void progress_note(struct progress *p, uint64_t now_us, uint64_t remaining_bytes,
		   uint64_t acked_bytes)
{
	if (!p->begun || remaining_bytes < p->least_bytes) {
		p->least_bytes = remaining_bytes;
		p->least_us = now_us;
	}
	if (!p->begun || acked_bytes > p->acked_bytes)
		p->acked_us = now_us;
	p->acked_bytes = acked_bytes;
	p->begun = true;
}

void progress_round(struct progress *p, uint64_t now_us, uint64_t remaining_bytes)
{
	if (p->rounds++ && remaining_bytes >= p->least_round)
		return;
	p->least_round = p->least_bytes = remaining_bytes;
	p->least_us = now_us;
}

static bool is_over(uint64_t since_us, uint64_t now_us, uint32_t limit_s)
{
	return now_us > since_us && now_us - since_us >= (uint64_t)limit_s * US_PER_S;
}

bool progress_stuck(const struct progress *p, uint64_t now_us, uint32_t limit_s,
		    char reason[PROGRESS_REASON_SIZE])
{
	if (!p->begun || limit_s == 0)
		return false;
	if (is_over(p->acked_us, now_us, limit_s)) {
		snprintf(reason, PROGRESS_REASON_SIZE,
			 "no progress: the destination has acknowledged no byte for %" PRIu64
			 " s (limit %" PRIu32 " s), after %.1f MiB",
			 (now_us - p->acked_us) / US_PER_S, limit_s, (double)p->acked_bytes / MIB);
		return true;
	}
	if (is_over(p->least_us, now_us, limit_s)) {
		snprintf(reason, PROGRESS_REASON_SIZE,
			 "no progress: remaining bytes have not gone below %.1f MiB for %" PRIu64
			 " s (limit %" PRIu32 " s)",
			 (double)p->least_bytes / MIB, (now_us - p->least_us) / US_PER_S, limit_s);
		return true;
	}
	return false;
}
