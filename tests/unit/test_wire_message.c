// SPDX-License-Identifier: Apache-2.0
// Control messages: every type there and back, cut short at every length, and hostile.
//
// Bodies are decoded where an inaccessible page follows their last byte, so that reading one byte
// too many ends the test with or without a sanitizer.
#include "wire.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MESSAGE_MAX (WIRE_HEADER_SIZE + WIRE_BODY_MAX)
#define GUARD_SIZE 4096u

/* MESSAGE_MAX + a page, rounded up; the last GUARD_SIZE bytes are out of bounds. */
#define AREA_SIZE (((MESSAGE_MAX + GUARD_SIZE - 1) / GUARD_SIZE + 1) * GUARD_SIZE)

/* An address with exactly size accessible bytes behind it. */
static uint8_t *guarded(size_t size)
{
	uint8_t *area =
		mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq((void *)area, MAP_FAILED);
	cr_assert_eq(mprotect(area + AREA_SIZE - GUARD_SIZE, GUARD_SIZE, PROT_NONE), 0);
	return area + AREA_SIZE - GUARD_SIZE - size;
}

static void guarded_free(uint8_t *at, size_t size)
{
	munmap(at + size + GUARD_SIZE - AREA_SIZE, AREA_SIZE);
}

static int decode_guarded(enum wire_type type, const uint8_t *body, size_t len,
			  struct wire_message *m, struct errtext *err)
{
	uint8_t *copy = guarded(len);
	int rc;

	memcpy(copy, body, len);
	rc = wire_body_decode(type, copy, len, m, err);
	guarded_free(copy, len);
	return rc;
}

static void add_block(struct ram_map *map, const char *name, uint64_t size, uint32_t page_size)
{
	struct ram_block block = {
		.size = size, .page_size = page_size, .allocated = size / 2, .fd = -1};

	snprintf(block.name, sizeof(block.name), "%s", name);
	cr_assert_eq(ram_map_add(map, &block, NULL), 0);
}

static void sample_prepare(struct wire_prepare *p)
{
	strcpy(p->name, "g");
	memcpy(p->uuid, "sixteen letters!", WIRE_UUID_SIZE);
	p->streams = WIRE_STREAMS_MAX;
	p->silence_ms = 0x00123456;
	p->running = p->autostart = p->strained = p->trial = true;
	add_block(&p->ram, "a", 4096, 4096);
	add_block(&p->ram, "b", 1ull << 40, 1u << 30);
}

static const struct wire_digest digest_sample = {2, {"sixteen letters!", "SIXTEEN LETTERS!"}};
static const struct wire_owed owed_sample = {1, 2, {{0x010203040506, 7}, {0x020304050607, 8}}};

static const struct wire_proof *proof_sample(void)
{
	static struct wire_proof p = {.block = 1, .first = 0x010203040506, .count = 19};

	memcpy(p.written, "\x01\x80\x04", 3);
	for (uint64_t i = 0; i < 19; i++)
		p.hash[i] = 0x0102030405060708 * (i + 1);
	return &p;
}

/* No field is zero, so that one left out shows. */
static void sample(enum wire_type type, struct wire_message *m)
{
	memset(m, 0, sizeof(*m));
	m->type = type;
	if (type == WIRE_PREPARE) {
		sample_prepare(&m->prepare);
	} else if (type == WIRE_PREPARED) {
		m->prepared.monitor_path = "/run/dray/monitor";
		m->prepared.stream_path = "/run/dray/stream \xc3\xa4";
	} else if (type == WIRE_SYNCED) {
		m->synced.stream = 0x21;
		m->synced.round = 0x03040506;
	} else if (type == WIRE_PING || type == WIRE_PONG) {
		m->ping.sent_us = 0x0102030405060708;
		m->ping.peer_us = UINT64_MAX;
	} else if (type == WIRE_DIGEST) {
		m->digest = &digest_sample;
	} else if (type == WIRE_QUEUED) {
		m->queued.ahead = 3;
	} else if (type == WIRE_BACKING) {
		m->backing.shared = true;
		m->backing.text = "there";
	} else if (type == WIRE_LISTEN) {
		m->listen.prove = true;
	} else if (type == WIRE_PROOF) {
		m->proof = proof_sample();
	} else if (type == WIRE_PROVEN) {
		m->proven.equal = 1;
		m->proven.unequal = 3;
	} else if (type == WIRE_LISTENING) {
		m->listening.text = "no";
	} else if (type == WIRE_OWED) {
		m->owed = &owed_sample;
	} else if (type == WIRE_COMPLETE) {
		m->complete = (struct wire_complete){1, 2, 3, 4, 5, 6, 7, 8, 9, true};
	} else if (type == WIRE_RESUMED) {
		m->resumed.time_us = 1234567890123456;
	} else if (type == WIRE_ARRIVAL) {
		m->arrival = (struct wire_arrival){1, 2, 0x0102030405060708, 4};
	} else if (type == WIRE_WAITING) {
		m->abort.text = "no room";
	} else if (type == WIRE_ABORT) {
		m->abort.text = "two lines";
		m->abort.why = WIRE_ABORT_CANCELLED;
	} else if (type == WIRE_QUERY || type == WIRE_DISCARD) {
		memcpy(m->query.uuid, "sixteen letters!", WIRE_UUID_SIZE);
		memcpy(m->query.host_uuid, "SIXTEEN LETTERS!", WIRE_UUID_SIZE);
		memcpy(m->query.session, "0123456789012345", WIRE_SESSION_SIZE);
	} else if (type == WIRE_STATE) {
		m->state.state = WIRE_STATE_RUNNING;
		m->state.text = "here";
	}
}

/* All but a PREPARE's RAM map is static. */
static void release_sample(struct wire_message *m)
{
	if (m->type == WIRE_PREPARE)
		wire_message_destroy(m);
}

static size_t encode(const struct wire_message *m, uint8_t buf[MESSAGE_MAX])
{
	long size = wire_message_encode(m, buf, MESSAGE_MAX);

	cr_assert_geq(size, WIRE_HEADER_SIZE, "%s: %ld", wire_type_name(m->type), size);
	return (size_t)size;
}

static void cmp_prepare(const struct wire_prepare *a, const struct wire_prepare *b)
{
	cr_assert_eq(ram_map_match(&a->ram, &b->ram, NULL), 0);
	for (unsigned int i = 0; i < a->ram.count; i++) {
		cr_assert_eq(a->ram.blocks[i].page_size, b->ram.blocks[i].page_size);
		cr_assert_eq(a->ram.blocks[i].allocated, b->ram.blocks[i].allocated);
		cr_assert_eq(b->ram.blocks[i].fd, -1);
	}
}

/* What came out is what went in if both encode to the same bytes. */
static void round_trip(const struct wire_message *in)
{
	uint8_t *buf = malloc(MESSAGE_MAX), *again = malloc(MESSAGE_MAX);
	size_t size = encode(in, buf);
	struct wire_message out;
	struct errtext err = {0};
	enum wire_type type;
	uint32_t len;

	cr_assert_eq(wire_header_decode(buf, &type, &len, &err), 0, "%s", err.text);
	cr_assert_eq(type, in->type);
	cr_assert_eq(len, size - WIRE_HEADER_SIZE);
	cr_assert_eq(decode_guarded(type, buf + WIRE_HEADER_SIZE, len, &out, &err), 0, "%s",
		     err.text);
	cr_assert_eq(out.type, in->type);
	cr_assert_eq(encode(&out, again), size);
	cr_assert_arr_eq(again, buf, size, "%s", wire_type_name(type));
	if (type == WIRE_PREPARE)
		cmp_prepare(&in->prepare, &out.prepare);
	wire_message_destroy(&out);
	free(again);
	free(buf);
}

ParameterizedTestParameters(wire_message, all_types)
{
	static int types[WIRE_TYPE_END_ - 1];

	for (int i = 0; i < WIRE_TYPE_END_ - 1; i++)
		types[i] = WIRE_PREPARE + i;
	return cr_make_param_array(int, types, WIRE_TYPE_END_ - 1);
}

static void check_cut_short(const struct wire_message *m)
{
	uint8_t *buf = calloc(1, MESSAGE_MAX);
	size_t len = encode(m, buf) - WIRE_HEADER_SIZE;
	struct wire_message out;

	for (size_t cut = 0; cut < len; cut++) {
		struct errtext err = {0};

		cr_assert_eq(decode_guarded(m->type, buf + WIRE_HEADER_SIZE, cut, &out, &err),
			     -EPROTO, "%zu of %zu bytes", cut, len);
		cr_assert(strstr(err.text, "cut short"), "%zu bytes: %s", cut, err.text);
	}
	for (size_t extra = 1; extra < 10; extra++) {
		struct errtext err = {0};

		cr_assert_eq(
			decode_guarded(m->type, buf + WIRE_HEADER_SIZE, len + extra, &out, &err),
			-EPROTO);
		cr_assert(strstr(err.text, "too many"), "%s", err.text);
	}
	free(buf);
}

static void check_small_buffers(const struct wire_message *m)
{
	uint8_t *buf = malloc(MESSAGE_MAX);
	size_t needed = encode(m, buf);

	for (size_t size = 0; size <= needed; size++) {
		uint8_t *small = guarded(size);
		long rc = wire_message_encode(m, small, size);

		cr_assert_eq(rc, size < needed ? -EMSGSIZE : (long)needed, "%zu bytes: %ld", size,
			     rc);
		guarded_free(small, size);
	}
	free(buf);
}

/* Version 1, byte for byte: what sample() makes of each type. */
static const char *const bytes_v1[WIRE_TYPE_END_] = {
	[WIRE_PREPARE] =
		"010000004d0000000100677369787465656e206c6574746572732140005634120001010101020001"
		"00610010000000000000001000000008000000000000010062000000000001000000000040000000"
		"0080000000",
	[WIRE_PREPARED] =
		"020000002800000011002f72756e2f647261792f6d6f6e69746f7213002f72756e2f647261792f73"
		"747265616d20c3a4",
	[WIRE_READY] = "0300000000000000",
	[WIRE_SYNCED] = "0400000006000000210006050403",
	[WIRE_PING] = "05000000100000000807060504030201ffffffffffffffff",
	[WIRE_PONG] = "06000000100000000807060504030201ffffffffffffffff",
	[WIRE_DIGEST_REQUEST] = "0700000000000000",
	[WIRE_DIGEST] =
		"080000002200000002007369787465656e206c657474657273215349585445454e204c4554544552"
		"5321",
	[WIRE_RELEASE] = "0900000000000000",
	[WIRE_RELEASED] = "0a00000000000000",
	[WIRE_RESUMED] = "0b00000008000000c0ba8a3cd5620400",
	[WIRE_FINISH] = "0c00000000000000",
	[WIRE_FINISHED] = "0d00000000000000",
	[WIRE_ABORT] = "0e0000000c000000090074776f206c696e657302",
	[WIRE_QUERY] =
		"0f000000300000007369787465656e206c657474657273215349585445454e204c4554544552532130"
		"313233343536373839303132333435",
	[WIRE_DISCARD] =
		"10000000300000007369787465656e206c657474657273215349585445454e204c4554544552532130"
		"313233343536373839303132333435",
	[WIRE_STATE] = "11000000080000000300040068657265",
	[WIRE_QUEUED] = "120000000400000003000000",
	[WIRE_LISTEN] = "130000000100000001",
	[WIRE_LISTENING] = "140000000400000002006e6f",
	[WIRE_OWED] = "150000001c00000001000200060504030201000007000000070605040302000008000000",
	[WIRE_OWED_END] = "1600000000000000",
	[WIRE_COMPLETE] =
		"17000000490000000100000000000000020000000000000003000000000000000400000000000000"
		"050000000000000006000000000000000700000000000000080000000000000009000000000000000"
		"1",
	[WIRE_PROOF] =
		"18000000a900000001000605040302010000130000000180040807060504030201100e0c0a080604"
		"021815120f0c090603201c1814100c080428231e19140f0a05302a241e18120c0638312a231c150e"
		"074038302820181008483f362d241b120950463c32281e140a584d42372c21160b6054483c302418"
		"0c685b4e4134271a0d70625446382a1c0e78695a4b3c2d1e0f807060504030201088776655443322"
		"11907e6c5a483624129885725f4c392613",
	[WIRE_PROVEN] = "190000001000000001000000000000000300000000000000",
	[WIRE_WAITING] = "1a0000000a00000007006e6f20726f6f6d00",
	[WIRE_BACKING] = "1b000000080000000105007468657265",
	[WIRE_ARRIVAL] =
		"1c00000020000000010000000000000002000000000000000807060504030201040000000000000"
		"0",
};

static void check_bytes(const struct wire_message *m)
{
	uint8_t *buf = malloc(MESSAGE_MAX);
	size_t len = encode(m, buf);
	char *hex = calloc(2, len + 1);

	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", buf[i]);
	cr_assert_str_eq(hex, bytes_v1[m->type], "%s", wire_type_name(m->type));
	free(hex);
	free(buf);
}

ParameterizedTest(int *type, wire_message, all_types)
{
	struct wire_message m;

	sample((enum wire_type) * type, &m);
	cr_assert_str_neq(wire_type_name(m.type), "?");
	check_bytes(&m);
	check_cut_short(&m);
	check_small_buffers(&m);
	round_trip(&m);
	release_sample(&m);
}

Test(wire_message, the_largest_of_all_fit)
{
	struct wire_message m = {.type = WIRE_PREPARE};
	struct wire_digest digest = {.count = RAM_BLOCKS_MAX};
	struct wire_owed owed = {.count = WIRE_OWED_RUNS_MAX};
	struct wire_proof *proof = calloc(1, sizeof(*proof));
	char name[RAM_BLOCK_NAME_MAX], longest[WIRE_TEXT_MAX + 1] = {0};

	memset(longest, 'm', WIRE_TEXT_MAX);
	sample_prepare(&m.prepare);
	ram_map_destroy(&m.prepare.ram);
	memset(m.prepare.name, 'n', WIRE_NAME_MAX);
	memset(name, 'b', sizeof(name));
	for (unsigned int i = 0; i < RAM_BLOCKS_MAX; i++) {
		snprintf(name + sizeof(name) - 5, 5, "%04u", RAM_BLOCKS_MAX - i);
		add_block(&m.prepare.ram, name, RAM_BLOCK_SIZE_MAX, 4096);
	}
	round_trip(&m);
	wire_message_destroy(&m);

	memset(digest.digest, 0xab, sizeof(digest.digest));
	m = (struct wire_message){.type = WIRE_DIGEST, .digest = &digest};
	round_trip(&m);

	memset(proof->hash, 0xab, sizeof(proof->hash));
	memset(proof->written, 0xab, sizeof(proof->written));
	proof->count = WIRE_PROOF_PAGES_MAX;
	m = (struct wire_message){.type = WIRE_PROOF, .proof = proof};
	round_trip(&m);
	free(proof);

	for (unsigned int i = 0; i < WIRE_OWED_RUNS_MAX; i++)
		owed.run[i] = (struct wire_run){i, i + 1};
	m = (struct wire_message){.type = WIRE_OWED, .owed = &owed};
	round_trip(&m);

	m = (struct wire_message){.type = WIRE_PREPARED};
	m.prepared.monitor_path = m.prepared.stream_path = longest;
	round_trip(&m);
}

Test(wire_message, the_least_round_trip)
{
	const struct wire_digest nothing = {0};
	struct wire_message m = {.type = WIRE_PREPARE};

	strcpy(m.prepare.name, "no RAM blocks: the relay lane");
	m.prepare.streams = 1;
	m.prepare.silence_ms = 1;
	round_trip(&m);
	m = (struct wire_message){.type = WIRE_PREPARED};
	round_trip(&m);
	m = (struct wire_message){.type = WIRE_DIGEST, .digest = &nothing};
	round_trip(&m);
	m = (struct wire_message){.type = WIRE_ABORT};
	round_trip(&m);
}

static void cannot_encode(const struct wire_message *m, long expected)
{
	uint8_t *buf = malloc(MESSAGE_MAX);

	cr_assert_eq(wire_message_encode(m, buf, MESSAGE_MAX), expected);
	free(buf);
}

Test(wire_message, encoder_keeps_the_limits)
{
	const struct wire_digest digest = {.count = RAM_BLOCKS_MAX + 1};
	char too_long[WIRE_TEXT_MAX + 2] = {0};
	struct wire_message m = {.type = WIRE_PREPARE};

	memset(too_long, 'x', WIRE_TEXT_MAX + 1);
	memset(m.prepare.name, 'x', sizeof(m.prepare.name));
	cannot_encode(&m, -EMSGSIZE);
	m = (struct wire_message){.type = WIRE_PREPARE, .prepare.ram.count = RAM_BLOCKS_MAX + 1};
	cannot_encode(&m, -EMSGSIZE);
	m = (struct wire_message){.type = WIRE_PREPARED};
	m.prepared.stream_path = too_long;
	cannot_encode(&m, -EMSGSIZE);
	m = (struct wire_message){.type = WIRE_ABORT};
	m.abort.text = too_long;
	cannot_encode(&m, -EMSGSIZE);
	m = (struct wire_message){.type = WIRE_DIGEST, .digest = &digest};
	cannot_encode(&m, -EMSGSIZE);
	m = (struct wire_message){.type = WIRE_TYPE_END_};
	cannot_encode(&m, -EINVAL);
	m.type = (enum wire_type)0;
	cannot_encode(&m, -EINVAL);
}

/* A sample's body with some bytes overwritten. Offsets in PREPARE: name 0 and 2, uuid 3,
 * streams 19, silence 21, running 25, autostart 26, strained 27, trial 28, count 29, block a: name
 * 31 and 33, size 34, page size 42; block b: name 46 and 48. */
struct patch {
	enum wire_type type;
	size_t offset;
	unsigned int width;
	uint64_t value;
	char says[48];
};

ParameterizedTestParameters(wire_message, patched)
{
	static struct patch rows[] = {
		{WIRE_PREPARE, 0, 2, WIRE_NAME_MAX + 1, "256 bytes, beyond the limit of 255"},
		{WIRE_PREPARE, 0, 2, UINT16_MAX, "65535 bytes"},
		{WIRE_PREPARE, 0, 2, 50, "NUL inside"},
		{WIRE_PREPARE, 2, 1, 0, "NUL inside"},
		{WIRE_PREPARE, 2, 1, '\n', "control character, 0x0a"},
		{WIRE_PREPARE, 2, 1, 0x7f, "control character, 0x7f"},
		{WIRE_PREPARE, 19, 2, 0, "0 RAM streams"},
		{WIRE_PREPARE, 19, 2, WIRE_STREAMS_MAX + 1, "65 RAM streams"},
		{WIRE_PREPARE, 25, 1, 2, "0 or 1 is expected"},
		{WIRE_PREPARE, 26, 1, 2, "0 or 1 is expected"},
		{WIRE_PREPARE, 27, 1, 2, "0 or 1 is expected"},
		{WIRE_PREPARE, 28, 1, 2, "0 or 1 is expected"},
		{WIRE_PREPARE, 29, 2, RAM_BLOCKS_MAX + 1, "257 RAM blocks"},
		{WIRE_PREPARE, 29, 2, UINT16_MAX, "65535 RAM blocks"},
		{WIRE_PREPARE, 29, 2, 3, "cut short"},
		{WIRE_PREPARE, 29, 2, 1, "too many"},
		{WIRE_PREPARE, 31, 2, RAM_BLOCK_NAME_MAX, "128 bytes, beyond the limit of 127"},
		{WIRE_PREPARE, 31, 2, 0, "no name"},
		{WIRE_PREPARE, 33, 1, '\x1b', "control character"},
		{WIRE_PREPARE, 34, 8, 0, "size is 0"},
		{WIRE_PREPARE, 34, 8, RAM_BLOCK_SIZE_MAX + 4096, "beyond the limit"},
		{WIRE_PREPARE, 34, 8, UINT64_MAX, "beyond the limit"},
		{WIRE_PREPARE, 34, 8, 4097, "no multiple"},
		{WIRE_PREPARE, 42, 4, 0, "no power of two"},
		{WIRE_PREPARE, 42, 4, 1024, "no power of two"},
		{WIRE_PREPARE, 46, 8, 4097, "more of it has memory than there is"},
		{WIRE_PREPARE, 56, 1, 'a', "'a' exists twice"},
		{WIRE_LISTEN, 0, 1, 2, "0 or 1 is expected"},
		{WIRE_PROOF, 10, 4, 0, "0 pages, not 1 to 4096"},
		{WIRE_PROOF, 10, 4, WIRE_PROOF_PAGES_MAX + 1, "4097 pages"},
		{WIRE_PROOF, 10, 4, 25, "cut short"},
		{WIRE_PROOF, 10, 4, 16, "too many"},
		{WIRE_PREPARED, 0, 2, WIRE_TEXT_MAX + 1, "1024 bytes, beyond the limit of 1023"},
		{WIRE_PREPARED, 4, 1, '\r', "control character"},
		{WIRE_SYNCED, 0, 2, WIRE_STREAMS_MAX, "stream 64"},
		{WIRE_DIGEST, 0, 2, RAM_BLOCKS_MAX + 1, "257 RAM blocks"},
		{WIRE_DIGEST, 0, 2, RAM_BLOCKS_MAX, "cut short"},
		{WIRE_DIGEST, 0, 2, 1, "too many"},
		{WIRE_ABORT, 0, 2, WIRE_TEXT_MAX + 1, "1024 bytes"},
		{WIRE_ABORT, 0, 2, WIRE_TEXT_MAX, "cut short"},
		{WIRE_ABORT, 5, 1, 0, "NUL inside"},
		{WIRE_ABORT, 11, 1, WIRE_ABORT_END_, "unknown way, 3"},
		{WIRE_STATE, 0, 2, 0, "unknown guest state, 0"},
		{WIRE_STATE, 0, 2, WIRE_STATE_END_, "unknown guest state"},
		{WIRE_STATE, 2, 2, WIRE_TEXT_MAX + 1, "1024 bytes"},
	};

	return cr_make_param_array(struct patch, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct patch *patch, wire_message, patched)
{
	uint8_t *buf = malloc(MESSAGE_MAX);
	struct errtext err = {0};
	struct wire_message m;
	size_t size;
	int rc;

	sample(patch->type, &m);
	size = encode(&m, buf);
	release_sample(&m);
	for (unsigned int i = 0; i < patch->width; i++)
		buf[WIRE_HEADER_SIZE + patch->offset + i] = (uint8_t)(patch->value >> 8 * i);
	rc = decode_guarded(patch->type, buf + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE, &m, &err);
	cr_assert_eq(rc, -EPROTO, "%s at %zu: %d, %s", wire_type_name(patch->type), patch->offset,
		     rc, err.text);
	cr_assert(strstr(err.text, patch->says), "%s", err.text);
	wire_message_destroy(&m);
	free(buf);
}

Test(wire_message, a_guest_needs_a_name)
{
	struct wire_message m = {.type = WIRE_PREPARE, .prepare.streams = 1};
	struct errtext err = {0};
	uint8_t buf[256];
	long size = wire_message_encode(&m, buf, sizeof(buf));

	cr_assert_eq(decode_guarded(WIRE_PREPARE, buf + WIRE_HEADER_SIZE,
				    (size_t)size - WIRE_HEADER_SIZE, &m, &err),
		     -EPROTO);
	cr_assert(strstr(err.text, "without a name"), "%s", err.text);
}

struct header_row {
	uint16_t type;
	uint16_t reserved;
	uint32_t len;
	char says[32]; /* empty: accepted */
};

ParameterizedTestParameters(wire_message, headers)
{
	static struct header_row rows[] = {
		{WIRE_PREPARE, 0, 0, ""},
		{WIRE_STATE, 0, WIRE_BODY_MAX, ""},
		{WIRE_PING, UINT16_MAX, 16, ""},
		{WIRE_PING, 0, WIRE_BODY_MAX + 1, "65537 bytes"},
		{WIRE_PING, 0, UINT32_MAX, "4294967295 bytes"},
		{0, 0, 0, "unknown type 0"},
		{WIRE_TYPE_END_, 0, 0, "unknown type"},
		{0x0101, 0, 0, "unknown type 257"},
		{UINT16_MAX, 0, 0, "unknown type 65535"},
	};

	return cr_make_param_array(struct header_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct header_row *row, wire_message, headers)
{
	uint8_t buf[WIRE_HEADER_SIZE] = {
		(uint8_t)row->type,	   (uint8_t)(row->type >> 8),
		(uint8_t)row->reserved,	   (uint8_t)(row->reserved >> 8),
		(uint8_t)row->len,	   (uint8_t)(row->len >> 8),
		(uint8_t)(row->len >> 16), (uint8_t)(row->len >> 24),
	};
	struct errtext err = {0};
	enum wire_type type;
	uint32_t len;
	int rc = wire_header_decode(buf, &type, &len, &err);

	cr_assert_eq(rc, row->says[0] ? -EPROTO : 0, "%d, %s", rc, err.text);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
	if (rc)
		return;
	cr_assert_eq(type, (enum wire_type)row->type);
	cr_assert_eq(len, row->len);
}

Test(wire_message, unknown_types)
{
	static const int types[] = {0, WIRE_TYPE_END_, 1000, -1};
	struct wire_message m;

	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		cr_assert_str_eq(wire_type_name((unsigned int)types[i]), "?");
		cr_assert_eq(wire_body_decode((enum wire_type)types[i], NULL, 0, &m, NULL),
			     -EPROTO);
		wire_message_destroy(&m);
	}
}

Test(wire_message, no_body_needs_no_buffer)
{
	struct wire_message m;

	cr_assert_eq(wire_body_decode(WIRE_READY, NULL, 0, &m, NULL), 0);
	cr_assert_eq(wire_body_decode(WIRE_PREPARE, NULL, 0, &m, NULL), -EPROTO);
}

Test(wire_message, a_text_is_made_printable)
{
	const struct wire_message m = {
		.type = WIRE_ABORT,
		.abort = {.why = WIRE_ABORT_FAILED, .text = "two\nlines\x1b[0m"}};
	uint8_t *buf = malloc(MESSAGE_MAX);
	size_t size = encode(&m, buf);
	struct wire_message out;

	cr_assert_eq(decode_guarded(WIRE_ABORT, buf + WIRE_HEADER_SIZE,
				    (uint32_t)(size - WIRE_HEADER_SIZE), &out, NULL),
		     0);
	cr_assert_str_eq(out.abort.text, "two lines?[0m");
	wire_message_destroy(&out);
	free(buf);
}
