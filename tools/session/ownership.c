// SPDX-License-Identifier: Apache-2.0
// Who has the guest: asking the other host, and acting on this one's libvirt.
#include "ownership.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cleanup.h"
#include "clock.h"
#include "control.h"

#define POLL_US 50000

static void pause_a_little(void)
{
	usleep(POLL_US);
}

/* ---- asking ---- */

int ownership_ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
		  enum wire_state *state, struct errtext *err)
{
	struct wire_message *m = calloc(1, sizeof(*m));
	uint8_t buf[256];
	_cleanup_close_ int fd = -1;
	long len;
	int ret = m ? dial(peer, WIRE_KIND_RECOVER, 0, &fd, NULL, err) : -ENOMEM;

	if (ret == 0) {
		m->type = question;
		memcpy(m->query.uuid, uuid, 16);
		len = wire_message_encode(m, buf, sizeof(buf));
		ret = len < 0 ? (int)len : socket_write_full(fd, buf, len, peer->timeout_ms);
	}
	if (ret == 0)
		ret = control_read_one(fd, peer->timeout_ms, m, err);
	if (ret == 0 && m->type != WIRE_STATE)
		ret = errtext_set(err, -EPROTO, "%s:%u answers %s, not STATE", peer->host,
				  peer->port, wire_type_name(m->type));
	if (ret == 0)
		*state = m->state.state;
	free(m);
	return ret;
}

int ownership_settle(const struct peer *peer, const uint8_t uuid[16], uint32_t wait_ms,
		     enum wire_state *state, struct errtext *err)
{
	uint64_t begun = clock_monotonic_us(), end = begun + wait_ms * 1000ull;
	struct errtext last = {0};
	bool answered = false;

	for (;;) {
		uint64_t now = clock_monotonic_us();
		enum wire_type question =
			answered && now - begun > wait_ms * 500ull ? WIRE_DISCARD : WIRE_QUERY;

		memset(&last, 0, sizeof(last));
		if (ownership_ask(peer, question, uuid, state, &last) == 0) {
			answered = true;
			if (*state != WIRE_STATE_INCOMING)
				return 0;
		}
		if (now >= end)
			break;
		pause_a_little();
	}
	if (answered)
		return errtext_set(err, -EBUSY,
				   "the destination %s:%u neither starts the guest "
				   "nor gives it up",
				   peer->host, peer->port);
	return errtext_set(err, -EHOSTUNREACH, "%s", last.text);
}

/* ---- acting ---- */

int ownership_wait_job(struct host *host, const char *uuid, uint32_t wait_ms,
		       struct domain_info *info, struct errtext *err)
{
	uint64_t end = clock_monotonic_us() + wait_ms * 1000ull;

	for (;;) {
		int ret = host_state(host, uuid, info, err);

		if (ret < 0 || !info->job)
			return ret;
		if (clock_monotonic_us() >= end)
			return errtext_set(err, -EBUSY,
					   "libvirt still has a job on domain %s: `virsh "
					   "domjobinfo %s`",
					   info->name, info->name);
		pause_a_little();
	}
}

int ownership_retire(struct host *host, const char *uuid, bool persistent, struct errtext *err)
{
	struct domain_info info;
	int ret = host_state(host, uuid, &info, err);

	if (ret < 0 || info.state == DOMAIN_ABSENT)
		return ret;
	if (info.state == DOMAIN_RUNNING)
		return errtext_set(err, -EEXIST,
				   "domain %s runs on both hosts; neither was touched. Decide "
				   "which one is right and destroy the other",
				   info.name);
	if (info.state != DOMAIN_SHUT_OFF)
		ret = host_destroy(host, uuid, err);
	if (ret == 0)
		ret = host_state(host, uuid, &info, err);
	if (ret == 0 && persistent && info.state != DOMAIN_ABSENT)
		ret = host_undefine(host, uuid, err);
	return ret;
}

/* It runs here: leave no capability behind that would make a later migration by somebody else
 * skip the guest's memory. */
int ownership_tidy_running(struct host *host, const struct domain_info *info, struct errtext *told)
{
	bool on = false;
	int ret = host_get_ignore_shared(host, info->uuid, &on, told);

	if (ret == 0 && on)
		ret = host_set_ignore_shared(host, info->uuid, false, told);
	return ret;
}
