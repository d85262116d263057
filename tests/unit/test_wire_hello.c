// SPDX-License-Identifier: Apache-2.0
// Hello, its reply and the choice of a version.
#include "wire.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <string.h>

static const struct wire_hello hello = {
	.version_min = 1,
	.version_max = 0x0203,
	.features = 0x1122334455667788,
	.session = "fifteen letters",
	.kind = WIRE_KIND_RAM,
	.index = 63,
};

static const struct wire_hello_reply reply = {
	.version = 2,
	.version_min = 1,
	.version_max = 3,
	.features = 0x8877665544332211,
	.host_uuid = "LETTERS FIFTEEN",
	.boot_id = "FIFTEEN LETTERS",
	.text = "welcome",
};

Test(wire_hello, bytes_are_as_documented)
{
	static const uint8_t expected[] = {
		'D',  'R',  'A',  'Y',	1,   0,	  3,   2,   0x88, 0x77, 0x66, 0x55,
		0x44, 0x33, 0x22, 0x11, 'f', 'i', 'f', 't', 'e',  'e',	'n',  ' ',
		'l',  'e',  't',  't',	'e', 'r', 's', 0,   2,	  0,	63,   0,
	};
	static const uint8_t zero[WIRE_HELLO_SIZE];
	uint8_t buf[WIRE_HELLO_SIZE];

	memset(buf, 0xee, sizeof(buf));
	wire_hello_encode(&hello, buf);
	cr_assert_arr_eq(buf, expected, sizeof(expected));
	cr_assert_arr_eq(buf + sizeof(expected), zero, sizeof(buf) - sizeof(expected));
}

Test(wire_hello, every_kind_round_trips)
{
	for (int kind = WIRE_KIND_CONTROL; kind <= WIRE_KIND_LAST_; kind++) {
		struct wire_hello in = hello, out;
		uint8_t buf[WIRE_HELLO_SIZE];

		in.kind = (enum wire_kind)kind;
		wire_hello_encode(&in, buf);
		cr_assert_eq(wire_hello_decode(buf, &out, NULL), 0);
		cr_assert_eq(out.version_min, in.version_min);
		cr_assert_eq(out.version_max, in.version_max);
		cr_assert_eq(out.features, in.features);
		cr_assert_arr_eq(out.session, in.session, WIRE_SESSION_SIZE);
		cr_assert_eq(out.kind, in.kind);
		cr_assert_eq(out.index, in.index);
	}
}

/* One 16-bit field overwritten. */
struct patch {
	size_t offset;
	uint16_t value;
	char says[32]; /* empty: accepted */
};

static void apply(const struct patch *patch, uint8_t *buf)
{
	buf[patch->offset] = (uint8_t)patch->value;
	buf[patch->offset + 1] = (uint8_t)(patch->value >> 8);
}

static void check(const struct patch *patch, int rc, const struct errtext *err)
{
	cr_assert_eq(rc, patch->says[0] ? -EPROTO : 0, "at %zu: %d, %s", patch->offset, rc,
		     err->text);
	cr_assert(strstr(err->text, patch->says), "%s", err->text);
}

ParameterizedTestParameters(wire_hello, patched_hello)
{
	static struct patch rows[] = {
		{0, 0x5353, "does not speak dray"}, /* SSH-2.0 */
		{2, 0, "does not speak dray"},
		{4, 0, "impossible range of versions"},
		{4, 0x0204, "impossible range of versions"},
		{4, 0x0203, ""},
		{6, 0, "impossible range of versions"},
		{6, UINT16_MAX, ""},
		{32, 0, "unknown kind of connection, 0"},
		{32, WIRE_KIND_LAST_ + 1, "unknown kind of connection"},
		{32, 0x0101, "unknown kind of connection, 257"},
		{34, WIRE_STREAMS_MAX, "stream 64"},
		{34, UINT16_MAX, "stream 65535"},
		{34, 0, ""},
		{36, 0xffff, ""}, /* reserved */
		{62, 0xffff, ""},
	};

	return cr_make_param_array(struct patch, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct patch *patch, wire_hello, patched_hello)
{
	uint8_t buf[WIRE_HELLO_SIZE];
	struct errtext err = {0};
	struct wire_hello out;

	wire_hello_encode(&hello, buf);
	apply(patch, buf);
	check(patch, wire_hello_decode(buf, &out, &err), &err);
}

static void round_trip_reply(const struct wire_hello_reply *in, size_t expected_text)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	size_t size = wire_hello_reply_encode(in, buf);
	struct wire_hello_reply out;
	size_t text_len;

	cr_assert_eq(wire_hello_reply_decode(buf, &out, &text_len, NULL), 0);
	cr_assert_eq(out.version, in->version);
	cr_assert_eq(out.version_min, in->version_min);
	cr_assert_eq(out.version_max, in->version_max);
	cr_assert_eq(out.features, in->features);
	cr_assert_arr_eq(out.host_uuid, in->host_uuid, WIRE_UUID_SIZE);
	cr_assert_arr_eq(out.boot_id, in->boot_id, WIRE_UUID_SIZE);
	cr_assert_str_empty(out.text);
	cr_assert_eq(text_len, expected_text);
	cr_assert_eq(size, WIRE_HELLO_REPLY_SIZE + text_len);
	cr_assert_arr_eq(buf + WIRE_HELLO_REPLY_SIZE, in->text, text_len);
}

Test(wire_hello, reply_round_trips)
{
	struct wire_hello_reply refusal = reply;

	round_trip_reply(&reply, strlen("welcome"));
	refusal.version = 0;
	refusal.text[0] = '\0';
	round_trip_reply(&refusal, 0);
	memset(refusal.text, 'x', WIRE_TEXT_MAX);
	round_trip_reply(&refusal, WIRE_TEXT_MAX);
}

Test(wire_hello, reply_cuts_an_unterminated_text)
{
	struct wire_hello_reply endless = reply;

	memset(endless.text, 'x', sizeof(endless.text));
	round_trip_reply(&endless, WIRE_TEXT_MAX);
}

ParameterizedTestParameters(wire_hello, patched_reply)
{
	static struct patch rows[] = {
		{0, 0x5448, "does not speak dray"}, /* HTTP */
		{4, 0, ""},			    /* refused */
		{4, 3, ""},
		{4, 4, "chose version 4 but speaks"},
		{6, 3, "chose version 2 but speaks"},
		{6, 0, "impossible range of versions"},
		{6, 4, "impossible range of versions"},
		{8, 0, "impossible range of versions"},
		{10, WIRE_TEXT_MAX, ""},
		{10, WIRE_TEXT_MAX + 1, "text of 1024 bytes"},
		{10, UINT16_MAX, "text of 65535 bytes"},
		{12, 0xffff, ""}, /* reserved */
		{62, 0xffff, ""},
	};

	return cr_make_param_array(struct patch, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct patch *patch, wire_hello, patched_reply)
{
	uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX];
	struct errtext err = {0};
	struct wire_hello_reply out;
	size_t text_len;

	wire_hello_reply_encode(&reply, buf);
	apply(patch, buf);
	check(patch, wire_hello_reply_decode(buf, &out, &text_len, &err), &err);
}

struct choice {
	uint16_t min_a, max_a, min_b, max_b, chosen;
};

ParameterizedTestParameters(wire_hello, version_choice)
{
	static struct choice rows[] = {
		{1, 1, 1, 1, 1},
		{1, 3, 1, 2, 2},
		{1, 5, 2, 3, 3},
		{2, 4, 4, 9, 4},
		{1, 2, 3, 4, 0},
		{7, 7, 1, 6, 0},
		{5, 9, 1, 6, 6},
		{1, 65535, 1, 65535, 65535},
		{WIRE_VERSION_MIN, WIRE_VERSION_MAX, WIRE_VERSION_MIN, WIRE_VERSION_MAX,
		 WIRE_VERSION_MAX},
	};

	return cr_make_param_array(struct choice, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct choice *c, wire_hello, version_choice)
{
	cr_assert_eq(wire_version_choose(c->min_a, c->max_a, c->min_b, c->max_b), c->chosen);
	cr_assert_eq(wire_version_choose(c->min_b, c->max_b, c->min_a, c->max_a), c->chosen);
}
