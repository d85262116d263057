// SPDX-License-Identifier: Apache-2.0
// How long things may take.
#include "outgoing_limits.h"

#include <criterion/criterion.h>
#include "outgoing_private.h"

TestSuite(outgoing_limits, .timeout = 20);

static uint64_t now_us;

static uint64_t tell_time(void)
{
	return now_us;
}

static const struct outgoing_world world = {.now_us = tell_time};
static struct ram_block block = {.name = "pc.ram", .page_size = 4096};
static struct outgoing_options options;
static struct outgoing o;

static void setup(uint64_t ram, uint32_t s_per_gib)
{
	block.size = ram;
	options = (struct outgoing_options){.completion_s_per_gib = s_per_gib, .stopped_ms = 2000};
	o = (struct outgoing){.opt = &options, .world = &world};
	o.guest.ram = (struct ram_map){.count = 1, .blocks = &block};
	o.precopy.limits.max_downtime_ms = 300;
	now_us = o.turn.came_us = o.stop.since_us = 5000000;
}

#define GIB (1ull << 30)

Test(outgoing_limits, the_completion_time_out_is_per_gib_begun)
{
	setup(GIB, 150);
	cr_expect_eq(outgoing_limits_completion_s(&o), 150);
	setup(GIB + 4096, 150);
	cr_expect_eq(outgoing_limits_completion_s(&o), 300);
	setup(4096, 150);
	cr_expect_eq(outgoing_limits_completion_s(&o), 150);
	setup(512 * GIB, 0);
	cr_expect_eq(outgoing_limits_completion_s(&o), 0);
}

Test(outgoing_limits, whoever_waits_for_the_completion_time_out_waits_past_it)
{
	setup(2 * GIB, 1);
	cr_expect_eq(outgoing_limits_completion_left_ms(&o), 2001);
	now_us += 1500000;
	cr_expect_eq(outgoing_limits_completion_left_ms(&o), 501);
	now_us += 1000000;
	cr_expect_eq(outgoing_limits_completion_left_ms(&o), 1);
	options.completion_s_per_gib = 0;
	cr_expect_eq(outgoing_limits_completion_left_ms(&o), OUTGOING_NO_LIMIT_MS);
}

/* The longer of the two: who allows a long downtime has a slow network, perhaps. */
Test(outgoing_limits, a_stopped_guest_waits_for_the_network_or_its_downtime)
{
	setup(GIB, 150);
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), 2000);
	now_us += 600000;
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), 1400);
	o.precopy.limits.max_downtime_ms = 5000;
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), 4400);
	now_us += 6000000;
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), 0);
}

Test(outgoing_limits, a_guest_paused_to_finish_has_the_whole_time_again)
{
	setup(GIB, 150);
	o.precopy.paused = true;
	now_us += 1000000;
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), 149000);
	options.completion_s_per_gib = 0;
	cr_expect_eq(outgoing_limits_stopped_left_ms(&o), OUTGOING_NO_LIMIT_MS - 1000);
}
