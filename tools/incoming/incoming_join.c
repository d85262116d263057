// SPDX-License-Identifier: Apache-2.0
// A session's other connections, each to whoever serves its kind.
#include "incoming_private.h"

#include <errno.h>
#include <unistd.h>

int incoming_join(struct receiver *r, struct line line, const struct wire_hello *hello,
		  const struct door_terms *terms, struct errtext *err)
{
	struct incoming *in = receiver_enter(r, hello->session);
	int ret;

	if (!in) {
		line_close(&line);
		return errtext_set(err, -ENOENT, "no such migration is under way here");
	}
	switch (hello->kind) {
	case WIRE_KIND_RAM:
		ret = incoming_stream_serve_ram(in, line, hello->index, err);
		break;
	case WIRE_KIND_TUNNEL:
		ret = incoming_tunnel_serve(in, line, err);
		break;
	case WIRE_KIND_FAULT:
		ret = incoming_link_serve_fault(in, line, hello->index, err);
		break;
	case WIRE_KIND_PUSH:
		ret = incoming_link_serve_push(in, line, hello->index, err);
		break;
	case WIRE_KIND_LINK:
		ret = incoming_link_serve(in, line, hello->index, terms, err);
		break;
	default:
		ret = incoming_tunnel_serve_qemu_stream(in, line, err);
	}
	receiver_leave(in);
	return ret;
}
