// SPDX-License-Identifier: Apache-2.0
// Waiting for mail.
#include "outgoing_await.h"

#include <errno.h>
#include "outgoing_private.h"
#include "outgoing_state.h"

#define CAUSE_MS 500

bool outgoing_never(const struct outgoing *o)
{
	(void)o;
	return false;
}

int outgoing_await(struct outgoing *o, until_fn *until, uint64_t timeout_ms, const char *what)
{
	uint64_t deadline = o->world->now_us() + timeout_ms * 1000;

	while (!until(o)) {
		uint64_t now = o->world->now_us(), wake = now + OUTGOING_TICK_US;
		struct mail mail;

		if (o->failed && outgoing_may_give_up(o))
			return o->failed;
		if (now >= deadline) {
			if (what)
				outgoing_fail(o, -ETIMEDOUT, "waited %.1f s for %s",
					      (double)timeout_ms / 1000, what);
			return -ETIMEDOUT;
		}
		o->world->take_mail(o->mail.box, wake < deadline ? wake : deadline, &mail);
		o->mail.take(o, &mail);
		outgoing_guest_look(o);
	}
	/* The mail that ends the wait may tell of a failure as well. */
	return o->failed && outgoing_may_give_up(o) ? o->failed : 0;
}

static bool job_is_done(const struct outgoing *o)
{
	return o->libvirt.done;
}

int outgoing_await_job(struct outgoing *o, uint64_t timeout_ms)
{
	return outgoing_await(o, job_is_done, timeout_ms, NULL);
}

static bool cause_is_known(const struct outgoing *o)
{
	return o->failed;
}

void outgoing_await_cause(struct outgoing *o)
{
	outgoing_await(o, cause_is_known, CAUSE_MS, NULL);
}
