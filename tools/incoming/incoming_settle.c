// SPDX-License-Identifier: Apache-2.0
// The guest, as this host's libvirt has it.
#include "incoming_private.h"

#include "ownership_table.h"

#define SETTLE_US 15000000
#define POLL_US 20000

/* libvirt was removed together with the guest's QEMU, as a launcher is: it will never answer. */
static bool is_gone(const struct incoming *in)
{
	return in->place.record.qemu > 0 && record_is_gone(&in->place.record);
}

/* A session that another process began may have no connection to libvirt yet. */
int incoming_settle_look(struct incoming *in, enum domain_state *state)
{
	struct domain_info info = {.state = DOMAIN_ABSENT};
	int ret = 0;

	if (!in->host)
		ret = in->world->open_host(in->receiver->opt.libvirt_socket, &in->host, NULL);
	if (ret == 0)
		ret = host_state(in->host, in->uuid, &info, NULL);
	if (ret < 0 && in->host)
		host_reopen(in->host, NULL);
	if (ret < 0 && is_gone(in)) {
		info.state = DOMAIN_ABSENT;
		ret = 0;
	}
	if (ret == 0)
		*state = info.state;
	return ret;
}

bool incoming_settle_has_run(enum domain_state state)
{
	return ownership_table_arrival(state) == ARRIVAL_LIVES;
}

bool incoming_settle_has_ended(enum domain_state state)
{
	return ownership_table_arrival(state) == ARRIVAL_NONE;
}

enum domain_state incoming_settle(struct incoming *in, uint64_t for_us)
{
	uint64_t end = in->world->now_us() + for_us;

	for (;;) {
		enum domain_state state;

		if (incoming_settle_look(in, &state) == 0 &&
		    ownership_table_arrival(state) != ARRIVAL_PENDING)
			return state;
		if (in->world->now_us() >= end)
			return DOMAIN_INCOMING;
		in->world->pause(POLL_US);
	}
}

bool incoming_settle_arrived(struct incoming *in)
{
	incoming_joined_cut_tunnels(in);
	return incoming_settle_has_run(incoming_settle(in, SETTLE_US));
}
