// SPDX-License-Identifier: Apache-2.0
// What the plan chooses on networks, cores and data that are computed here, and what it loses to
// the best choice that one could have made beforehand.
#include "compression_plan.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "wire.h"

#define GIB (1ull << 30)
#define RAW_BYTES (WIRE_FRAME_PAGES_MAX * 4096ull)

TestSuite(compression_plan, .timeout = 20);

/* Times in picoseconds a byte, of levels 0, 1, 3 and 6. */
struct network {
	char name[32];
	uint64_t link;	       /* on the wire */
	uint64_t link_then;    /* from half of the data on; 0: the same */
	uint64_t send;	       /* what the core does to send it */
	uint64_t compress[4];  /* [0]: none */
	unsigned int share[4]; /* per cent that are left */
	uint64_t buffer;       /* bytes that the kernel takes ahead */
	int level_min, level_max;
	unsigned int loss; /* per cent, at most, against the best */
};

/* A sender, and a network that empties its buffer. */
struct world {
	const struct network *n;
	uint64_t now_ps, queued_until_ps; /* when all that was sent has left */
	uint64_t sent, all;
	unsigned int round;
};

static unsigned int option_of(int level)
{
	static const int levels[] = {0, 1, 3, 6};
	unsigned int i = 0;

	while (i < 3 && levels[i] != level)
		i++;
	return i;
}

static uint64_t link_of(const struct world *w)
{
	return w->n->link_then && w->sent > w->all / 2 ? w->n->link_then : w->n->link;
}

/* One frame; of data of which none, or every third frame, cannot be compressed. */
static struct compression_sample send(struct world *w, unsigned int option, uint64_t bytes)
{
	struct compression_sample s = {.bytes = bytes, .wire = bytes * w->n->share[option] / 100};
	uint64_t begin = w->now_ps + w->n->compress[option] * bytes,
		 room = w->n->buffer * link_of(w);

	w->now_ps = begin + w->n->send * s.wire;
	w->queued_until_ps = w->queued_until_ps > begin ? w->queued_until_ps : begin;
	w->queued_until_ps += s.wire * link_of(w);
	if (w->queued_until_ps > w->now_ps + room)
		w->now_ps = w->queued_until_ps - room;
	s.compress_ns = w->n->compress[option] * bytes / 1000;
	s.send_ns = (w->now_ps - begin) / 1000;
	w->sent += bytes;
	return s;
}

static uint64_t fixed_ps(const struct network *n, unsigned int option, uint64_t all)
{
	struct world w = {.n = n, .all = all};

	while (w.sent < all)
		send(&w, option, option ? WIRE_ZSTD_PAGES_MAX * 4096 : RAW_BYTES);
	return w.now_ps > w.queued_until_ps ? w.now_ps : w.queued_until_ps;
}

static uint64_t planned_ps(const struct network *n, uint64_t all, struct compression_plan *p)
{
	struct world w = {.n = n, .all = all};

	compression_plan_init(p, 0);
	while (w.sent < all) {
		struct compression_step step = compression_plan_next(p);
		struct compression_sample s =
			send(&w, option_of(step.level), step.level ? step.pages * 4096 : RAW_BYTES);

		compression_plan_note(p, &s, w.now_ps / 1000);
	}
	return w.now_ps > w.queued_until_ps ? w.now_ps : w.queued_until_ps;
}

#define TEXT                                                                                       \
	{0, 2000, 4000, 10000},                                                                    \
	{                                                                                          \
		100, 30, 27, 25                                                                    \
	}
#define NOISE                                                                                      \
	{0, 1000, 1500, 5000},                                                                     \
	{                                                                                          \
		100, 100, 100, 100                                                                 \
	}
#define LOADED                                                                                     \
	{0, 8000, 16000, 40000},                                                                   \
	{                                                                                          \
		100, 30, 27, 25                                                                    \
	}

ParameterizedTestParameters(compression_plan, is_about_as_good_as_the_best_choice)
{
	static struct network rows[] = {
		{"fast", 180, 0, 300, TEXT, 4 << 20, 0, 0, 1},
		{"fast, by TLS", 180, 0, 900, TEXT, 4 << 20, 0, 0, 1},
		{"fast, loaded", 180, 0, 1500, LOADED, 4 << 20, 0, 0, 1},
		{"fast, noise", 180, 0, 300, NOISE, 4 << 20, 0, 0, 1},
		{"10 Gbit/s", 800, 0, 300, TEXT, 4 << 20, 0, 0, 1},
		{"1 Gbit/s", 8000, 0, 300, TEXT, 4 << 20, 1, 6, 6},
		{"1 Gbit/s, loaded", 8000, 0, 300, LOADED, 4 << 20, 0, 1, 6},
		{"1 Gbit/s, noise", 8000, 0, 300, NOISE, 4 << 20, 0, 0, 1},
		{"100 Mbit/s", 80000, 0, 300, TEXT, 1 << 20, 6, 6, 6},
		{"a cap of 16 MiB/s", 60000, 0, 300, TEXT, 64 << 10, 6, 6, 6},
		{"it becomes slow", 180, 40000, 300, TEXT, 4 << 20, 3, 6, 6},
		{"it becomes fast", 40000, 180, 300, TEXT, 4 << 20, 0, 0, 10},
	};

	return cr_make_param_array(struct network, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct network *n, compression_plan, is_about_as_good_as_the_best_choice)
{
	struct compression_plan p;
	uint64_t planned = planned_ps(n, 4 * GIB, &p), best = UINT64_MAX;

	for (unsigned int i = 0; i < 4; i++) {
		uint64_t ps = fixed_ps(n, i, 4 * GIB);

		best = ps < best ? ps : best;
	}
	cr_log_info("%s: %llu ms, the best %llu, level %d", n->name,
		    (unsigned long long)(planned / 1000000000),
		    (unsigned long long)(best / 1000000000), compression_plan_level(&p));
	cr_expect(n->link_then || planned <= best + best * n->loss / 100,
		  "%s: %llu ms, the best %llu", n->name, (unsigned long long)(planned / 1000000000),
		  (unsigned long long)(best / 1000000000));
	cr_expect(compression_plan_level(&p) >= n->level_min &&
			  compression_plan_level(&p) <= n->level_max,
		  "%s: level %d", n->name, compression_plan_level(&p));
}

/* ---- what does not become smaller ---- */

/* A frame of the step, of which so much is left. */
static struct compression_step frame(struct compression_plan *p, unsigned int per_cent)
{
	struct compression_step step = compression_plan_next(p);
	struct compression_sample s = {.bytes = 1 << 18, .compress_ns = step.level ? 100000 : 0};

	s.wire = step.level ? s.bytes * per_cent / 100 : s.bytes;
	s.send_ns = s.wire * 10;
	compression_plan_note(p, &s, 0); /* time stands still: no trial */
	return step;
}

static struct compression_plan at_level_1(void)
{
	static const struct network slow = {"", 80000, 0, 300, TEXT, 1 << 20, 0, 0, 0};
	struct compression_plan p;

	planned_ps(&slow, 24 << 20, &p);
	cr_assert_gt(compression_plan_level(&p), 0);
	while (p.probing || p.settling || p.trial != p.current)
		frame(&p, 30);
	return p;
}

Test(compression_plan, frames_in_vain_are_sampled_and_then_left_out)
{
	static const unsigned int left_out[] = {0, 1, 2, 4, 8, 16, 16, 16};
	struct compression_plan p = at_level_1();

	cr_assert_not(frame(&p, 30).sample);
	for (unsigned int i = 0; i < sizeof(left_out) / sizeof(*left_out); i++) {
		struct compression_step step = frame(&p, 100);

		cr_assert_gt(step.level, 0, "%u", i);
		cr_assert_eq(step.sample, i > 0);
		for (unsigned int n = 0; n < left_out[i]; n++)
			cr_assert_eq(frame(&p, 100).level, 0, "%u: %u", i, n);
	}
	cr_assert(frame(&p, 30).sample);
	for (unsigned int i = 0; i < 20; i++) {
		struct compression_step step = frame(&p, 30);

		cr_assert_gt(step.level, 0);
		cr_assert_not(step.sample);
	}
}

Test(compression_plan, a_stream_begins_without)
{
	struct compression_plan p;

	compression_plan_init(&p, 0);
	for (unsigned int i = 0; i < 15; i++)
		cr_assert_eq(frame(&p, 100).level, 0);
	cr_assert_eq(compression_plan_level(&p), 0);
}

/* A cost that is never the same twice is no reason not to try. */
Test(compression_plan, a_network_that_changes_all_the_time)
{
	struct compression_sample s = {.bytes = 1 << 22, .wire = 1 << 22};
	struct compression_plan p;
	uint64_t now_ns = 0;

	compression_plan_init(&p, 0);
	p.due_ns = 1000000000;
	for (unsigned int i = 0; i < 1000 && compression_plan_next(&p).level == 0; i++) {
		s.send_ns = i % 2 ? 4000000 : 40000000;
		now_ns += s.send_ns;
		compression_plan_note(&p, &s, now_ns);
	}
	cr_assert_gt(compression_plan_next(&p).level, 0);
	cr_assert_lt(now_ns, 1100000000);
}

Test(compression_plan, time_without_pages_decides_nothing)
{
	const struct compression_sample wait = {.send_ns = 1000000000};
	struct compression_plan p;

	compression_plan_init(&p, 0);
	for (unsigned int i = 0; i < 100; i++)
		compression_plan_note(&p, &wait, i * wait.send_ns);
	cr_assert_eq(compression_plan_next(&p).level, 0);
	cr_assert_eq(p.cost, 0);
}
