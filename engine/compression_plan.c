// SPDX-License-Identifier: Apache-2.0
// At which level the next frame of a stream had best be compressed, or not at all.
//
// Options are: not at all, and some levels. What an option costs is the time that a MiB of pages
// takes to be compressed and to be handed to the stream, which makes the sender wait where the
// network, a cap, or the destination is slower than it. All else that a page costs is the same for
// all options, so the one of the least cost is the fastest, whatever holds it up. A stream begins
// without compression.
//
//   window    so many bytes or so much time with one option; of it the cost
//   trial     now and then: a window with a neighbour, which stays in use if it costs a twentieth
//             less. Before it is measured one window passes, as the kernel still has what was sent
//             before
//   probe     before the trial of a level: one small frame, whose time and size tell what the level
//             can cost at best. Where compression cannot pay no more than that is lost
//
// A trial in vain doubles the time until the next; a cost that has changed by half begins anew.
//
// Frames that did not become smaller: the next one is sampled before it is compressed, and of each
// further one in a row twice as many go as they are without a look.
//
// Rejected: to compute the network's speed from what is sent. Of a sender that does not wait it is
// unknown, and with compression it hardly ever waits.
#include "compression_plan.h"

#include "wire.h"

static const int levels[] = {0, 1, 3, 6};

#define OPTIONS (sizeof(levels) / sizeof(*levels))
#define MIB (1ull << 20)
#define WINDOW_BYTES (4 * MIB)
#define WINDOW_NS 100000000ull
#define INTERVAL_FIRST_NS 250000000ull
#define INTERVAL_MOST_NS 16000000000ull
#define PROBE_PAGES 16u
#define SKIP_MOST 16u
/* A core never compresses a MiB in less. */
#define COST_FLOOR_NS 400000ull

static uint64_t per_mib(uint64_t ns, uint64_t bytes)
{
	return bytes ? ns * MIB / bytes : 0;
}

static uint64_t cost_of(const struct compression_sample *s)
{
	return per_mib(s->compress_ns + s->send_ns, s->bytes);
}

/* By a twentieth at least. */
static bool is_less(uint64_t a, uint64_t b)
{
	return a < b - b / 20;
}

void compression_plan_init(struct compression_plan *p, uint64_t now_ns)
{
	*p = (struct compression_plan){
		.up = true, .due_ns = now_ns, .interval_ns = INTERVAL_FIRST_NS};
}

int compression_plan_level(const struct compression_plan *p)
{
	return levels[p->current];
}

struct compression_step compression_plan_next(const struct compression_plan *p)
{
	struct compression_step step = {.level = levels[p->trial], .pages = WIRE_ZSTD_PAGES_MAX};

	if (p->probing)
		step.pages = PROBE_PAGES;
	else if (p->skip)
		step.level = 0;
	step.sample = !p->probing && p->misses;
	return step;
}

/* ---- trials ---- */

static void schedule(struct compression_plan *p, uint64_t now_ns)
{
	p->due_ns = now_ns + p->interval_ns;
	p->judged_cost = p->cost;
}

static void use(struct compression_plan *p, unsigned int option)
{
	p->probing = false;
	p->settling = option != p->trial;
	p->trial = option;
	p->misses = p->skip = 0;
	p->w = (struct compression_sample){0};
}

static void fail_trial(struct compression_plan *p, uint64_t now_ns)
{
	use(p, p->current);
	p->up = !p->up;
	schedule(p, now_ns);
	p->interval_ns =
		p->interval_ns < INTERVAL_MOST_NS / 2 ? 2 * p->interval_ns : INTERVAL_MOST_NS;
}

static void take_costs(struct compression_plan *p, uint64_t cost)
{
	p->cost = cost;
	p->wire_cost = per_mib(p->w.send_ns, p->w.wire);
	p->wire_share = per_mib(p->w.wire, p->w.bytes);
	p->wire_share += p->wire_share == 0;
}

static void win_trial(struct compression_plan *p, uint64_t now_ns)
{
	p->current = p->trial;
	take_costs(p, cost_of(&p->w));
	p->interval_ns = INTERVAL_FIRST_NS;
	schedule(p, now_ns);
}

/* The neighbour whose turn it is, if there is one on that side. */
static unsigned int neighbour(struct compression_plan *p)
{
	if (p->current == 0)
		p->up = true;
	if (p->current == OPTIONS - 1)
		p->up = false;
	return p->up ? p->current + 1 : p->current - 1;
}

static void begin_trial(struct compression_plan *p, uint64_t now_ns)
{
	unsigned int option = neighbour(p);

	if (option == 0 ? !is_less(p->wire_cost, p->cost) : p->cost < COST_FLOOR_NS) {
		fail_trial(p, now_ns);
		return;
	}
	if (option == 0) {
		use(p, option);
		return;
	}
	p->trial = option;
	p->probing = true;
}

/* Of a higher level: as if the network alone held up the current one, so that what counts is the
 * size, or the level's own time. Of a lower one: as if it were the core. */
static uint64_t cost_at_best(const struct compression_plan *p, const struct compression_sample *s)
{
	uint64_t own = per_mib(s->compress_ns, s->bytes);
	uint64_t wire = per_mib(s->wire, s->bytes), sent;

	if (p->trial < p->current)
		return own + p->wire_cost * wire / MIB;
	sent = p->cost * wire / p->wire_share;
	return own > sent ? own : sent;
}

static void judge_probe(struct compression_plan *p, const struct compression_sample *s,
			uint64_t now_ns)
{
	unsigned int option = p->trial;
	bool pays = is_less(cost_at_best(p, s), p->cost);

	p->trial = p->current;
	if (pays)
		use(p, option);
	else
		fail_trial(p, now_ns);
}

/* ---- windows ---- */

static bool has_changed(uint64_t a, uint64_t b)
{
	return 2 * a < b || 2 * b < a;
}

/* The next trial comes soon, and no later than it would have. */
static void hasten(struct compression_plan *p, uint64_t now_ns)
{
	p->interval_ns = INTERVAL_FIRST_NS;
	p->judged_cost = p->cost;
	if (p->due_ns > now_ns + p->interval_ns)
		p->due_ns = now_ns + p->interval_ns;
}

static void judge_current(struct compression_plan *p, uint64_t now_ns)
{
	uint64_t cost = cost_of(&p->w);

	take_costs(p, p->cost ? (p->cost + cost) / 2 : cost);
	if (p->judged_cost && has_changed(p->cost, p->judged_cost))
		hasten(p, now_ns);
	if (now_ns >= p->due_ns)
		begin_trial(p, now_ns);
}

static void end_window(struct compression_plan *p, uint64_t now_ns)
{
	if (p->settling)
		p->settling = false;
	else if (p->trial == p->current)
		judge_current(p, now_ns);
	else if (is_less(cost_of(&p->w), p->cost))
		win_trial(p, now_ns);
	else
		fail_trial(p, now_ns);
	p->w = (struct compression_sample){0};
}

static void note_size(struct compression_plan *p, const struct compression_sample *s)
{
	if (levels[p->trial] == 0)
		return;
	if (p->skip) {
		p->skip--;
	} else if (s->wire < s->bytes) {
		p->misses = 0;
	} else {
		p->skip = p->misses ? 1u << (p->misses - 1) : 0;
		p->skip = p->skip < SKIP_MOST ? p->skip : SKIP_MOST;
		p->misses += p->misses < 8;
	}
}

void compression_plan_note(struct compression_plan *p, const struct compression_sample *s,
			   uint64_t now_ns)
{
	if (p->probing && s->bytes) {
		judge_probe(p, s, now_ns);
		return;
	}
	if (s->bytes)
		note_size(p, s);
	p->w.bytes += s->bytes;
	p->w.wire += s->wire;
	p->w.compress_ns += s->compress_ns;
	p->w.send_ns += s->send_ns;
	if (p->w.bytes >= WINDOW_BYTES ||
	    (p->w.bytes && p->w.compress_ns + p->w.send_ns >= WINDOW_NS))
		end_window(p, now_ns);
}
