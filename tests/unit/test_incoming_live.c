// SPDX-License-Identifier: Apache-2.0
// `dray status` and `dray cancel` at the destination, of a session without a guest.
#include "incoming_live.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_destination.h"
#include "json_field.h"

TestSuite(incoming_live, .timeout = 60);

static struct fake_destination *run(const char *script)
{
	struct fake_destination *d;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	d = fake_destination_new();
	d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_run(d, script);
	return d;
}

static void done(struct fake_destination *d)
{
	json_object_put(d->shown);
	fake_destination_destroy(d);
}

static void expect(const struct fake_destination *d, const char *key, const char *value)
{
	char text[128];

	cr_expect_str_eq(json_field_text(d->shown, key, text, sizeof(text)), value, "%s: %s", key,
			 text);
}

static const struct row {
	const char *script, *phase, *mode;
	int left; /* bytes; -1: it is not known here */
} rows[] = {
	{"iREF", "pre-copy", "PreCopy", -1},	    {"LiREKF", "pre-copy", "PostCopy", 0},
	{"RiEF", "hand-over", "PreCopy", -1},	    {"LslRiEK", "post-copy", "PostCopy", 4096},
	{"LslREiK", "post-copy", "PostCopy", 4096},
};

ParameterizedTestParameters(incoming_live, status)
{
	static size_t numbers[sizeof(rows) / sizeof(rows[0])];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		numbers[i] = i;
	return cr_make_param_array(size_t, numbers, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(size_t *number, incoming_live, status)
{
	const struct row *row = &rows[*number];
	struct fake_destination *d = run(row->script);
	double left;

	expect(d, "domain", "web");
	expect(d, "uuid", FAKE_UUID);
	expect(d, "direction", "incoming");
	expect(d, "tls", "false");
	expect(d, "phase", row->phase);
	expect(d, "mode", row->mode);
	expect(d, "total_bytes", "65536");
	cr_expect_eq(json_field_number(d->shown, "remaining_bytes", &left), row->left >= 0);
	if (row->left >= 0)
		cr_expect_eq(left, row->left);
	cr_expect(d->result.arrived, "%s", d->result.reason);
	done(d);
}

Test(incoming_live, cancelled_before_the_release)
{
	struct fake_destination *d = run("ic");

	cr_assert_eq(d->cancelled, 0);
	cr_assert(!d->result.arrived && !d->result.unknown);
	cr_assert_str_eq(d->why, "cancelled there");
	done(d);
}

Test(incoming_live, too_late_after_it)
{
	struct fake_destination *d = run("RcEcF");

	cr_assert_eq(d->cancelled, -EREMOTEIO);
	cr_assert(d->result.arrived, "%s", d->result.reason);
	done(d);
}

Test(incoming_live, of_a_session_that_another_process_began)
{
	const struct record record = {.released = true, .post_copy = true, .running = true};
	struct fake_destination *d;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	d = fake_destination_new();
	d->libvirt_said = d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_leave(d, &record);
	cr_assert_eq(fake_destination_carry_on(d, "icK"), 0);
	expect(d, "phase", "post-copy");
	expect(d, "remaining_bytes", "4096");
	cr_assert_eq(d->cancelled, -EREMOTEIO);
	done(d);
}
