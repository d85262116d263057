// SPDX-License-Identifier: Apache-2.0
// The return path of QEMU's migration stream: an acknowledgement put in, the real one taken out.
#include "return_path.h"

#include <endian.h>
#include <string.h>

#define SWITCHOVER_ACK 7

static uint16_t be16_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static size_t put_ack(struct return_path *rp, uint8_t *out)
{
	static const uint8_t ack[4] = {0, SWITCHOVER_ACK, 0, 0};

	if (rp->acked)
		return 0;
	rp->acked = true;
	memcpy(out, ack, sizeof(ack));
	return sizeof(ack);
}

/* A whole head has come: it goes on, unless it is the acknowledgement that QEMU has already. */
static size_t end_head(struct return_path *rp, uint8_t *out)
{
	rp->have = 0;
	rp->body = be16_at(rp->head + 2);
	if (!rp->swallowed && be16_at(rp->head) == SWITCHOVER_ACK && rp->body == 0) {
		rp->swallowed = true;
		return 0;
	}
	memcpy(out, rp->head, sizeof(rp->head));
	return sizeof(rp->head);
}

size_t return_path_translate(struct return_path *rp, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t done = put_ack(rp, out);

	while (n) {
		size_t some = rp->body < n ? rp->body : n;

		memcpy(out + done, in, some);
		done += some;
		in += some;
		n -= some;
		rp->body -= (uint32_t)some;
		if (n == 0)
			break;
		rp->head[rp->have++] = *in++;
		n--;
		if (rp->have == sizeof(rp->head))
			done += end_head(rp, out + done);
	}
	return done;
}
