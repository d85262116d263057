// SPDX-License-Identifier: Apache-2.0
// Who has the port, and how long to wait for it.
#include "receiver_port.h"

#include <errno.h>
#include "incoming_world.h"
#include "record.h"

#define BUSY_US 5000000
#define POLL_US 100000

static bool awaits_pages(const struct record *r, const void *port)
{
	return r->port == *(const uint16_t *)port && r->released && r->post_copy && !r->complete;
}

static int explain_busy(const struct incoming_world *world, uint16_t port,
			const struct errtext *why, struct errtext *err)
{
	struct guest_dir dir;
	struct record r;
	int ret = world->find_record(RECORD_INCOMING, awaits_pages, &port, &dir, &r, NULL);

	if (ret < 0)
		return errtext_set(err, -EADDRINUSE, "%s", why->text);
	ret = errtext_set(err, -EADDRINUSE,
			  "%s Or domain %s, which runs here, still has memory to come, and the "
			  "guard or `dray recover` that fetches it holds the port until then",
			  why->text, r.domain);
	record_destroy(&r);
	return ret;
}

int receiver_port_listen(const struct socket_options *socket, uint16_t port, bool patient,
			 const struct incoming_world *world, int *fd, struct errtext *err)
{
	uint64_t until = world->now_us() + (patient ? BUSY_US : 0);

	for (;;) {
		struct errtext why = {0};
		int ret = socket_listen(socket, port, fd, &why);

		if (ret == 0)
			return 0;
		if (ret != -EADDRINUSE)
			return errtext_set(err, ret, "%s", why.text);
		if (world->now_us() >= until)
			return explain_busy(world, port, &why, err);
		world->pause(POLL_US);
	}
}
