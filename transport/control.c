// SPDX-License-Identifier: Apache-2.0
// The control channel: reader thread, heartbeats, clock difference.
//
// The clock offset is NTP's (RFC 5905, section 8) with the peer's two stamps taken as one: the
// exchange with the shortest round trip is off by at most half of that.
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "cleanup.h"
#include "clock.h"
#include "pacer.h"

/* Heartbeats in one silence: several may be lost to a busy host before the peer is. */
#define BEATS_PER_SILENCE 8
#define BEAT_MAX_MS 500
#define MESSAGE_MAX (WIRE_HEADER_SIZE + WIRE_BODY_MAX)

struct control {
	/* constant after init */
	struct control_options opt;
	pthread_t thread;
	bool started;
	uint8_t *in;

	_Atomic uint32_t silence_ms; /* relaxed: picked up at the next beat */
	atomic_bool ending;	     /* relaxed: looked at once a beat */

	uint64_t heard_us; /* private to the reader */

	pthread_mutex_t lock; /* orders writers; holders may block on the socket */
	/* under lock */
	uint8_t *out;

	pthread_mutex_t clock_lock;
	/* under clock_lock */
	int64_t offset_us;
	uint64_t round_trip_us;
};

static uint32_t silence(struct control *c)
{
	return atomic_load_explicit(&c->silence_ms, memory_order_relaxed);
}

static int beat_ms(struct control *c)
{
	uint32_t beat = silence(c) / BEATS_PER_SILENCE;

	return beat > BEAT_MAX_MS ? BEAT_MAX_MS : (beat ? (int)beat : 1);
}

/* buf: MESSAGE_MAX bytes. Bytes written, or a negative errno. */
static long write_message(struct line line, uint8_t *buf, int timeout_ms,
			  const struct wire_message *m)
{
	long len = wire_message_encode(m, buf, MESSAGE_MAX);
	int ret = len < 0 ? (int)len : line_write_full(line, buf, (size_t)len, timeout_ms);

	return ret < 0 ? ret : len;
}

int control_send(struct control *c, const struct wire_message *message)
{
	long len;

	pthread_mutex_lock(&c->lock);
	len = write_message(c->opt.line, c->out, (int)silence(c), message);
	/* Half a message cannot be taken back. */
	if (len < 0)
		shutdown(c->opt.line.fd, SHUT_RDWR);
	else if (c->opt.pacer)
		pacer_charge(c->opt.pacer, (size_t)len);
	pthread_mutex_unlock(&c->lock);
	return len < 0 ? (int)len : 0;
}

int control_send_type(struct control *c, enum wire_type type)
{
	struct wire_message m = {.type = type};

	return control_send(c, &m);
}

static int read_message(struct line line, uint8_t *buf, int timeout_ms, struct wire_message *m,
			struct errtext *err)
{
	enum wire_type type;
	uint32_t len;
	int ret = line_read_full(line, buf, WIRE_HEADER_SIZE, timeout_ms);

	if (ret == 0)
		ret = wire_header_decode(buf, &type, &len, err);
	if (ret == 0 && len) {
		ret = line_read_full(line, buf, len, timeout_ms);
		ret = ret == -ENODATA ? -ECONNRESET : ret;
	}
	return ret < 0 ? ret : wire_body_decode(type, buf, len, m, err);
}

static int one_done(struct line line, long ret, struct errtext *err)
{
	return ret < 0 ? errtext_set(err, (int)ret, "control connection: %s",
				     line_why(line, (int)ret))
		       : 0;
}

int control_read_one(struct line line, int timeout_ms, struct wire_message *message,
		     struct errtext *err)
{
	_cleanup_free_ uint8_t *buf = malloc(WIRE_BODY_MAX);

	return one_done(line, buf ? read_message(line, buf, timeout_ms, message, err) : -ENOMEM,
			err);
}

int control_write_one(struct line line, int timeout_ms, const struct wire_message *message,
		      struct errtext *err)
{
	_cleanup_free_ uint8_t *buf = malloc(MESSAGE_MAX);

	return one_done(line, buf ? write_message(line, buf, timeout_ms, message) : -ENOMEM, err);
}

static int ping(struct control *c)
{
	const struct wire_message m = {.type = WIRE_PING, .ping = {clock_realtime_us(), 0}};

	return control_send(c, &m);
}

static void answer_ping(struct control *c, const struct wire_message *ping)
{
	struct wire_message pong = {.type = WIRE_PONG,
				    .ping = {ping->ping.sent_us, clock_realtime_us()}};

	control_send(c, &pong);
}

static void learn_clock(struct control *c, const struct wire_message *pong)
{
	uint64_t now = clock_realtime_us();
	uint64_t trip = now - pong->ping.sent_us;

	if (now < pong->ping.sent_us)
		return; /* our clock was set back meanwhile */
	pthread_mutex_lock(&c->clock_lock);
	if (c->round_trip_us == 0 || trip < c->round_trip_us) {
		c->round_trip_us = trip ? trip : 1;
		c->offset_us = (int64_t)(pong->ping.peer_us - (pong->ping.sent_us + trip / 2));
	}
	pthread_mutex_unlock(&c->clock_lock);
}

/* Waits for as long as there is no room for it. */
static int deliver(struct control *c, struct wire_message *m)
{
	while (!c->opt.message(c->opt.opaque, m, clock_monotonic_us() + beat_ms(c) * 1000ull)) {
		if (atomic_load_explicit(&c->ending, memory_order_relaxed))
			return -ECANCELED;
		ping(c);
	}
	return 0;
}

/* That nothing can be sent any more is no reason not to read what the peer said before it went. */
static int handle(struct control *c, struct wire_message *m)
{
	switch (m->type) {
	case WIRE_PING:
		answer_ping(c, m);
		return 0;
	case WIRE_PONG:
		learn_clock(c, m);
		return 0;
	default:
		return deliver(c, m);
	}
}

/* Waits for one message or one beat. Readability is looked at before silence is judged: after a
 * stop of this process itself the peer's messages are waiting. */
static int turn(struct control *c, struct errtext *err)
{
	struct pollfd p = {.fd = c->opt.line.fd, .events = POLLIN};
	_cleanup_message_ struct wire_message m = {0};
	int ret = line_has_pending(c->opt.line) ? 1 : poll(&p, 1, beat_ms(c));

	if (ret < 0)
		return errno == EINTR ? 0 : -errno;
	if (ret == 0) {
		if (clock_monotonic_us() - c->heard_us > silence(c) * 1000ull)
			return errtext_set(err, -ETIMEDOUT, "nothing heard from the peer for %u ms",
					   silence(c));
		return ping(c);
	}
	ret = read_message(c->opt.line, c->in, (int)silence(c), &m, err);
	if (ret == 0)
		ret = handle(c, &m);
	c->heard_us = clock_monotonic_us(); /* only now: nothing was read while there was no room */
	return ret;
}

static void *reader_main(void *arg)
{
	struct control *c = arg;
	struct errtext err = {0};
	int ret = ping(c);

	c->heard_us = clock_monotonic_us();
	while (ret == 0)
		ret = turn(c, &err);
	errtext_set(&err, ret, "%s",
		    ret == -ENODATA ? "the peer closed the control connection"
				    : line_why(c->opt.line, ret));
	shutdown(c->opt.line.fd, SHUT_RDWR);
	c->opt.lost(c->opt.opaque, ret, err.text);
	return NULL;
}

int control_new(const struct control_options *options, struct control **out, struct errtext *err)
{
	struct control *c = calloc(1, sizeof(*c));
	int ret = 0;

	if (!c) {
		struct line line = options->line;

		line_close(&line);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	c->opt = *options;
	atomic_init(&c->silence_ms, options->silence_ms);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->clock_lock, NULL);
	c->in = malloc(WIRE_BODY_MAX);
	c->out = malloc(MESSAGE_MAX);
	if (!c->in || !c->out)
		ret = -ENOMEM;
	if (ret == 0 && options->first)
		ret = control_send(c, options->first);
	*out = c;
	if (ret == 0)
		ret = -pthread_create(&c->thread, NULL, reader_main, c);
	if (ret < 0) {
		*out = NULL;
		control_destroy(c);
		return errtext_set(err, ret, "cannot open the control channel: %s", strerror(-ret));
	}
	c->started = true;
	return 0;
}

void control_set_silence(struct control *c, uint32_t silence_ms)
{
	atomic_store_explicit(&c->silence_ms, silence_ms, memory_order_relaxed);
}

bool control_is_up(struct control *c)
{
	struct pollfd p = {.fd = c->opt.line.fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) <= 0;
}

void control_clock(struct control *c, int64_t *offset_us, uint64_t *round_trip_us)
{
	pthread_mutex_lock(&c->clock_lock);
	*offset_us = c->offset_us;
	*round_trip_us = c->round_trip_us;
	pthread_mutex_unlock(&c->clock_lock);
}

void control_shutdown(struct control *c)
{
	atomic_store_explicit(&c->ending, true, memory_order_relaxed);
	shutdown(c->opt.line.fd, SHUT_RDWR);
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	control_shutdown(c);
	if (c->started)
		pthread_join(c->thread, NULL);
	line_close(&c->opt.line);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->clock_lock);
	free(c->in);
	free(c->out);
	free(c);
}
