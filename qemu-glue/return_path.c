// SPDX-License-Identifier: Apache-2.0
// The return path of QEMU's migration stream: an acknowledgement first, and the end when it is due.
#include "return_path.h"

#include <string.h>

static const uint8_t switchover_ack[] = {0, 7, 0, 0};
static const uint8_t shut[] = {0, 1, 0, 4, 0, 0, 0, 0};

_Static_assert(sizeof(switchover_ack) + sizeof(shut) <= RETURN_PATH_MAX, "room for both");

size_t return_path_answer(struct return_path *rp, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t done = 0;

	if (rp->acknowledge && !rp->acked) {
		rp->acked = true;
		memcpy(out, switchover_ack, sizeof(switchover_ack));
		done = sizeof(switchover_ack);
	}
	if (n && !rp->shut && stream_end_see(&rp->end, in, n)) {
		rp->shut = true;
		memcpy(out + done, shut, sizeof(shut));
		done += sizeof(shut);
	}
	return done;
}
