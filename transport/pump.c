// SPDX-License-Identifier: Apache-2.0
// Two directions, a to b and b to a, each a queue between a socket read and a socket written.
//
// A direction lives through these states, forwards only:
//
//   OPEN      reads its source while the queue has room, writes what is queued
//   FLUSHING  the source has ended; writes what is queued, then passes the end on
//   DONE      nothing moves any more
//
//   read   end of file   direction from it: OPEN -> FLUSHING
//          error         the same, and the direction to that socket is DONE: it is broken both
//                        ways. If bytes are held: the pump ends, see pump.h
//   write  error         direction to it: DONE. The other direction goes on: a peer that has closed
//                        may have left last words
//
// The pump's thread polls; other threads change `held`, `halted` and `stopping`, and wake it by an
// eventfd.
// It holds the lock while it writes a to b, non-blocking: that is what makes the return of
// pump_hold a promise.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "chunk_queue.h"
#include "cleanup.h"
#include "pacer.h"
#include "pump.h"

#define FLOW_LIMIT CHUNK_SIZE /* queued per direction while bytes just flow */
#define DROP_SIZE 4096
#define STRAIN_SIZE CHUNK_SIZE /* read at once to be strained: as much as a UNIX socket holds */

enum direction_state { DIRECTION_OPEN, DIRECTION_FLUSHING, DIRECTION_DONE };

struct direction {
	/* constant after init */
	struct line from, to;

	/* the pump's thread */
	enum direction_state state;
	bool cut; /* `from` has not ended, but broken off: `to` is not to take it for an end */
	struct chunk_queue queue;

	/* written by the pump's thread, read by any; relaxed: statistics */
	_Atomic uint64_t moved, kept;
	_Atomic bool ended; /* its source; relaxed: a hint */
};

struct pump {
	/* constant after init */
	struct pump_options opt;
	int wake; /* eventfd */
	pthread_t thread;
	uint8_t *strained; /* STRAIN_SIZE bytes, the pump's thread's; NULL: nothing is strained */

	/* the pump's thread, until it has been joined */
	struct direction ab, ba;
	int result;
	size_t unpaid; /* has gone from a to b, and the pacer does not know of it yet */

	atomic_bool hasty; /* relaxed: who waits for the pacer is woken by it */

	/* one joining thread */
	bool joined;

	pthread_mutex_t lock;
	/* under lock */
	bool held;
	bool halted;
	bool stopping;
};

/* What other threads want of a to b, at one moment. */
struct orders {
	bool held, halted;
};

/* ---- directions ---- */

static void direction_set(struct direction *d, enum direction_state state)
{
	if (state <= d->state)
		return;
	d->state = state;
	atomic_store_explicit(&d->ended, true, memory_order_relaxed);
	if (state != DIRECTION_DONE)
		return;
	chunk_queue_clear(&d->queue);
	atomic_store_explicit(&d->kept, 0, memory_order_relaxed);
	/* The end travels on; and whoever still writes to `from` learns that nobody reads. */
	shutdown(d->to.fd, SHUT_WR);
	shutdown(d->from.fd, SHUT_RD);
}

static void pump_note(struct pump *p, int error)
{
	if (!p->result)
		p->result = error;
}

static struct direction *other_direction(struct pump *p, const struct direction *d)
{
	return d == &p->ab ? &p->ba : &p->ab;
}

static bool direction_held(const struct pump *p, const struct direction *d, struct orders orders)
{
	return orders.held && d == &p->ab;
}

static size_t direction_room(const struct pump *p, const struct direction *d, struct orders orders)
{
	size_t limit = direction_held(p, d, orders) ? p->opt.hold_limit : FLOW_LIMIT;

	if (orders.halted && d == &p->ab)
		return 0;
	return d->queue.bytes < limit ? limit - d->queue.bytes : 0;
}

static void direction_count(struct direction *d, size_t moved)
{
	atomic_fetch_add_explicit(&d->moved, moved, memory_order_relaxed);
	atomic_store_explicit(&d->kept, d->queue.bytes, memory_order_relaxed);
}

/* In b's place. */
static int pump_answer(struct pump *p, const uint8_t *in, size_t n)
{
	uint8_t out[PUMP_ANSWER_MAX];
	size_t said = p->opt.answer(p->opt.answer_arg, in, n, out);

	return p->ba.state == DIRECTION_OPEN ? chunk_queue_put(&p->ba.queue, out, said) : 0;
}

static ssize_t direction_drop(struct direction *d)
{
	uint8_t in[DROP_SIZE];

	return line_read(d->from, in, sizeof(in));
}

static int pump_keep(void *opaque, const uint8_t *at, size_t n)
{
	struct pump *p = opaque;
	int ret = chunk_queue_put(&p->ab.queue, at, n);

	return ret == 0 && p->opt.answer ? pump_answer(p, at, n) : ret;
}

static ssize_t pump_strain(struct pump *p)
{
	ssize_t n = line_read(p->ab.from, p->strained, STRAIN_SIZE);
	int ret = 0;

	if (n > 0)
		ret = p->opt.strain(p->opt.strain_arg, p->strained, (size_t)n, pump_keep, p);
	if (ret < 0) /* what was kept before it is of no use without what follows */
		chunk_queue_clear(&p->ab.queue);
	return ret < 0 ? ret : n;
}

static ssize_t direction_fill(struct pump *p, struct direction *d, size_t room)
{
	ssize_t n;
	int ret = 0;

	if (d == &p->ba && p->opt.answer)
		return direction_drop(d);
	if (d == &p->ab && p->opt.strain)
		return pump_strain(p);
	n = chunk_queue_fill(&d->queue, d->from, room);
	if (n > 0 && p->opt.answer)
		ret = pump_answer(p, chunk_queue_last(&d->queue, (size_t)n), (size_t)n);
	return ret < 0 ? ret : n;
}

static void direction_read(struct pump *p, struct direction *d, struct orders orders)
{
	size_t room = direction_room(p, d, orders);
	ssize_t n;

	if (d->state != DIRECTION_OPEN || !room)
		return;
	n = direction_fill(p, d, room);
	if (n == -EAGAIN)
		return;
	if (n > 0) {
		direction_count(d, 0);
		return;
	}
	if (n < 0) {
		pump_note(p, (int)n);
		d->cut = true;
		direction_set(other_direction(p, d), DIRECTION_DONE);
		if (direction_held(p, d, orders))
			direction_set(d, DIRECTION_DONE);
	}
	direction_set(d, DIRECTION_FLUSHING);
}

static void direction_write(struct pump *p, struct direction *d)
{
	ssize_t n;

	while (d->queue.bytes && d->state != DIRECTION_DONE) {
		n = chunk_queue_flush(&d->queue, d->to);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			pump_note(p, (int)n);
			direction_set(d, DIRECTION_DONE);
			return;
		}
		direction_count(d, (size_t)n);
		if (p->opt.pacer && d == &p->ab)
			p->unpaid += (size_t)n;
	}
	if (d->state == DIRECTION_FLUSHING && (d->cut || line_end(d->to) != -EAGAIN))
		direction_set(d, DIRECTION_DONE);
}

/* ---- the thread ---- */

static bool pump_is_hasty(struct pump *p)
{
	return atomic_load_explicit(&p->hasty, memory_order_relaxed);
}

/* Without the lock: it may wait, for as long as the guest runs. */
static void pump_pay(struct pump *p)
{
	size_t granted;

	if (p->unpaid && !p->opt.paced)
		pacer_charge(p->opt.pacer, p->unpaid);
	else
		while (p->unpaid && !pump_is_hasty(p) &&
		       pacer_take_part(p->opt.pacer, p->unpaid, &p->hasty, &granted) == 0)
			p->unpaid -= granted;
	p->unpaid = 0;
}

static struct orders pump_orders(struct pump *p)
{
	struct orders orders;

	pthread_mutex_lock(&p->lock);
	orders = (struct orders){p->held, p->halted};
	pthread_mutex_unlock(&p->lock);
	return orders;
}

/* Returns false when told to stop. */
static bool pump_move(struct pump *p)
{
	struct orders orders = pump_orders(p);
	bool stopping;

	direction_read(p, &p->ab, orders);
	direction_read(p, &p->ba, orders);
	direction_write(p, &p->ba);
	pthread_mutex_lock(&p->lock);
	stopping = p->stopping;
	if (!stopping && !p->held)
		direction_write(p, &p->ab);
	pthread_mutex_unlock(&p->lock);
	pump_pay(p);
	return !stopping;
}

/* A descriptor nothing is wanted from must not be polled: its hang-up would be reported for ever.
 */
static struct pollfd interest(struct line line, bool in, bool out)
{
	short events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));

	return (struct pollfd){.fd = events ? line.fd : -1, .events = events};
}

static bool wants_in(struct pump *p, struct direction *d, struct orders orders)
{
	return d->state == DIRECTION_OPEN && direction_room(p, d, orders);
}

static bool wants_out(struct pump *p, struct direction *d, struct orders orders)
{
	return d->state != DIRECTION_DONE && !direction_held(p, d, orders) &&
	       (d->queue.bytes || d->state == DIRECTION_FLUSHING);
}

/* What was read already, in the same record, and waits inside. */
static bool has_more(struct pump *p, struct direction *d, struct orders orders)
{
	return wants_in(p, d, orders) && line_has_pending(d->from);
}

static int pump_wait(struct pump *p)
{
	struct orders now = pump_orders(p);
	struct pollfd fds[] = {
		interest(p->ab.from, wants_in(p, &p->ab, now), wants_out(p, &p->ba, now)),
		interest(p->ab.to, wants_in(p, &p->ba, now), wants_out(p, &p->ab, now)),
		interest(line_plain(p->wake), true, false),
	};
	bool more = has_more(p, &p->ab, now) || has_more(p, &p->ba, now);
	uint64_t ignored;

	if (poll(fds, sizeof(fds) / sizeof(fds[0]), more ? 0 : -1) < 0 && errno != EINTR)
		return -errno;
	if (fds[2].revents && read(p->wake, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

static void *pump_main(void *arg)
{
	struct pump *p = arg;
	int ret = p->opt.answer ? pump_answer(p, NULL, 0) : 0;

	while (!ret && (p->ab.state != DIRECTION_DONE || p->ba.state != DIRECTION_DONE)) {
		if (!pump_move(p))
			ret = -ECANCELED;
		else if (p->ab.state != DIRECTION_DONE || p->ba.state != DIRECTION_DONE)
			ret = pump_wait(p);
	}
	pump_note(p, ret);
	direction_set(&p->ab, DIRECTION_DONE);
	direction_set(&p->ba, DIRECTION_DONE);
	if (p->opt.ended)
		p->opt.ended(p->opt.arg, p->result);
	return NULL;
}

/* ---- the interface ---- */

static void pump_free(struct pump *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p->strained);
	if (p->wake >= 0)
		close(p->wake);
	free(p);
}

/* Without its thread. */
static int pump_new(const struct pump_options *opt, struct pump **out)
{
	struct pump *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	if (opt)
		p->opt = *opt;
	if (!p->opt.hold_limit)
		p->opt.hold_limit = PUMP_HOLD_LIMIT;
	p->held = p->opt.held;
	p->halted = p->opt.halted;
	pthread_mutex_init(&p->lock, NULL);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->strained = p->opt.strain ? malloc(STRAIN_SIZE) : NULL;
	*out = p; /* to be freed, whatever is missing */
	if (p->wake < 0)
		return -errno;
	return p->opt.strain && !p->strained ? -ENOMEM : 0;
}

int pump_start(struct line a, struct line b, const struct pump_options *opt, struct pump **out,
	       struct errtext *err)
{
	struct pump *p = NULL;
	int ret = pump_new(opt, &p);

	if (ret == 0) {
		p->ab.from = p->ba.to = a;
		p->ab.to = p->ba.from = b;
		ret = -pthread_create(&p->thread, NULL, pump_main, p);
	}
	if (ret < 0) {
		pump_free(p);
		return errtext_set(err, ret, "cannot start forwarding: %s", strerror(-ret));
	}
	*out = p;
	return 0;
}

static void pump_tell(struct pump *p, bool *what, bool value)
{
	const uint64_t one = 1;
	ssize_t n;

	pthread_mutex_lock(&p->lock);
	*what = value;
	pthread_mutex_unlock(&p->lock);
	/* It can only fail when full, which wakes just as well. */
	n = write(p->wake, &one, sizeof(one));
	(void)n;
}

void pump_hold(struct pump *p)
{
	pump_tell(p, &p->held, true);
}

void pump_release(struct pump *p)
{
	pump_tell(p, &p->held, false);
}

void pump_go(struct pump *p)
{
	pump_tell(p, &p->halted, false);
}

void pump_hasten(struct pump *p)
{
	atomic_store_explicit(&p->hasty, true, memory_order_relaxed);
	if (p->opt.paced && p->opt.pacer)
		pacer_kick(p->opt.pacer);
}

void pump_stop(struct pump *p)
{
	pump_hasten(p);
	pump_tell(p, &p->stopping, true);
}

int pump_join(struct pump *p)
{
	if (!p->joined)
		pthread_join(p->thread, NULL);
	p->joined = true;
	return p->result;
}

void pump_destroy(struct pump *p)
{
	if (!p)
		return;
	pump_stop(p);
	pump_join(p);
	line_close(&p->ab.from);
	line_close(&p->ab.to);
	pump_free(p);
}

uint64_t pump_bytes_a_to_b(const struct pump *p)
{
	return atomic_load_explicit(&p->ab.moved, memory_order_relaxed);
}

uint64_t pump_bytes_b_to_a(const struct pump *p)
{
	return atomic_load_explicit(&p->ba.moved, memory_order_relaxed);
}

uint64_t pump_bytes_kept(const struct pump *p)
{
	return atomic_load_explicit(&p->ab.kept, memory_order_relaxed);
}

bool pump_has_lost_b(const struct pump *p)
{
	return atomic_load_explicit(&p->ba.ended, memory_order_relaxed);
}
