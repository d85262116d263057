// SPDX-License-Identifier: Apache-2.0
// A sending socket under a pacer: the quantum, and the limit on what is unsent.
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "clock.h"
#include "paced_socket.h"
#include "pacer.h"

#define STUCK_US 2000 /* what was held up for longer is charged again */

static size_t bytes_unsent(const struct paced_socket *s)
{
	int unsent = 0;

	return ioctl(s->fd, SIOCOUTQNSD, &unsent) || unsent < 0 ? 0 : (size_t)unsent;
}

static void follow_rate(struct paced_socket *s)
{
	uint64_t rate = pacer_rate(s->pacer);
	size_t quantum = pacer_quantum(s->pacer);
	int lowat = rate ? (int)quantum : 0; /* 0: the system's default, no limit */

	if (rate == s->rate)
		return;
	/* Nobody paid for what is still there from the time without a cap. */
	if (!s->rate)
		pacer_charge(s->pacer, bytes_unsent(s));
	s->rate = rate;
	s->limited =
		!setsockopt(s->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) && rate;
}

/* Writable under TCP_NOTSENT_LOWAT means: less than half of that is unsent. */
static void wait_unsent(struct paced_socket *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};
	uint64_t began;
	size_t stuck;

	if (!s->limited || poll(&p, 1, 0))
		return;
	began = clock_monotonic_us();
	stuck = bytes_unsent(s);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (clock_monotonic_us() - began > STUCK_US)
		pacer_charge(s->pacer, stuck);
}

int paced_socket_take(struct paced_socket *s, size_t left, const atomic_bool *cancel,
		      size_t *granted)
{
	*granted = left;
	if (!s->pacer)
		return 0;
	if (s->urgent) {
		pacer_charge(s->pacer, left);
		return 0;
	}
	follow_rate(s);
	wait_unsent(s);
	return pacer_take_part(s->pacer, left, cancel, granted);
}
