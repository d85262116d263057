// SPDX-License-Identifier: Apache-2.0
// QEMU's migration stream, written by a test, and what a strainer leaves of it.
#pragma once

#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "ram_map.h"
#include "strainer.h"

enum {
	ITEM_ZERO = 0x02,
	ITEM_MEM_SIZE = 0x04,
	ITEM_PAGE = 0x08,
	ITEM_EOS = 0x10,
	ITEM_CONTINUE = 0x20,
	ITEM_MULTIFD_FLUSH = 0x200,
};

#define RAM_ID 2
#define PAGE (uint64_t) RAM_PAGE_SIZE

/* Grows as it is written. */
struct qemu_stream {
	uint8_t *bytes;
	size_t n, room;
};

static inline void cleanup_stream(struct qemu_stream *s)
{
	free(s->bytes);
}

#define _cleanup_stream_ _cleanup_(cleanup_stream)

static inline void put(struct qemu_stream *s, const void *bytes, size_t n)
{
	if (s->n + n > s->room) {
		s->room = 2 * (s->n + n);
		s->bytes = realloc(s->bytes, s->room);
		cr_assert(s->bytes);
	}
	if (n)
		memcpy(s->bytes + s->n, bytes, n);
	s->n += n;
}

static inline void put_u8(struct qemu_stream *s, uint8_t value)
{
	put(s, &value, 1);
}

static inline void put_be16(struct qemu_stream *s, uint16_t value)
{
	value = htobe16(value);
	put(s, &value, sizeof(value));
}

static inline void put_be32(struct qemu_stream *s, uint32_t value)
{
	value = htobe32(value);
	put(s, &value, sizeof(value));
}

static inline void put_be64(struct qemu_stream *s, uint64_t value)
{
	value = htobe64(value);
	put(s, &value, sizeof(value));
}

static inline void put_name(struct qemu_stream *s, const char *name)
{
	put_u8(s, (uint8_t)strlen(name));
	put(s, name, strlen(name));
}

static inline void put_header(struct qemu_stream *s)
{
	put(s, "QEVM\0\0\0\3", 8);
}

static inline void put_configuration(struct qemu_stream *s, const char *machine)
{
	put_u8(s, 7);
	put_be32(s, (uint32_t)strlen(machine));
	put(s, machine, strlen(machine));
}

static inline void put_command(struct qemu_stream *s, uint16_t command, const void *data,
			       uint16_t n)
{
	put_u8(s, 8);
	put_be16(s, command);
	put_be16(s, n);
	put(s, data, n);
}

static inline void put_start(struct qemu_stream *s, const char *name, uint32_t version)
{
	put_u8(s, 1);
	put_be32(s, RAM_ID);
	put_name(s, name);
	put_be32(s, 0);
	put_be32(s, version);
}

static inline void put_section(struct qemu_stream *s, uint8_t type)
{
	put_u8(s, type);
	put_be32(s, RAM_ID);
}

static inline void put_section_end(struct qemu_stream *s)
{
	put_be64(s, ITEM_EOS);
	put_section(s, 0x7e);
}

static inline void put_listed(struct qemu_stream *s, const char *name, uint64_t size)
{
	put_name(s, name);
	put_be64(s, size);
}

/* Of the block `name`, or of the last one if that is NULL; filled with bytes that mean something
 * elsewhere in a stream. */
static inline void put_page(struct qemu_stream *s, const char *name, uint64_t at)
{
	put_be64(s, at | ITEM_PAGE | (name ? 0 : ITEM_CONTINUE));
	if (name)
		put_name(s, name);
	for (unsigned int i = 0; i < RAM_PAGE_SIZE; i++)
		put_u8(s, "\x10\4QEVM\0\6{}pc.ram~\1\2\3\4"[i % 22]);
}

static inline void put_zero(struct qemu_stream *s, const char *name, uint64_t at, uint8_t fill)
{
	put_be64(s, at | ITEM_ZERO | (name ? 0 : ITEM_CONTINUE));
	if (name)
		put_name(s, name);
	put_u8(s, fill);
}

static inline int qemu_stream_keep(void *opaque, const uint8_t *at, size_t n)
{
	put(opaque, at, n);
	return 0;
}

static inline void drop_block(struct ram_map *drop, const char *name, uint64_t size)
{
	struct ram_block block = {.size = size, .page_size = RAM_PAGE_SIZE, .fd = -1};

	strncpy(block.name, name, sizeof(block.name) - 1);
	cr_assert_eq(ram_map_add(drop, &block, NULL), 0);
}

static inline struct strainer *strainer_for(const struct ram_map *drop)
{
	struct strainer *s;

	cr_assert_eq(strainer_new(drop, &s), 0);
	return s;
}

/* ---- a sample ---- */

#define PAGE (uint64_t) RAM_PAGE_SIZE

/* pc.ram of four pages and ram-node0 of two are dropped, vga of two is kept. */
static inline struct ram_map dropped_blocks(void)
{
	struct ram_map drop = {0};

	drop_block(&drop, "pc.ram", 4 * PAGE);
	drop_block(&drop, "ram-node0", 2 * PAGE);
	return drop;
}

static inline void put_list(struct qemu_stream *s)
{
	put_be64(s, 8 * PAGE | ITEM_MEM_SIZE);
	put_listed(s, "pc.ram", 4 * PAGE);
	put_listed(s, "vga", 2 * PAGE);
	put_listed(s, "/objects/ram-node0", 2 * PAGE);
}

static inline void put_beginning(struct qemu_stream *s)
{
	put_header(s);
	put_configuration(s, "pc-i440fx-7.2");
	put_command(s, 1, NULL, 0);
	put_command(s, 2, "\0\0\0\1", 4);
	put_start(s, "ram", 4);
	put_list(s);
}

static inline void put_setup(struct qemu_stream *s)
{
	put_beginning(s);
	put_section_end(s);
}

static inline void put_device_state(struct qemu_stream *s)
{
	static const char state[] = "\4\0\0\0\5\3cpu\1\2\3\4\7\10\2~\0\0\0\2\0\6\0\0\0\2{}";

	put(s, state, sizeof(state) - 1);
}

/* In pieces of exactly their size, so that a sanitizer sees an over-read. */
static inline int strain_piece(struct strainer *s, const uint8_t *at, size_t n,
			       struct qemu_stream *kept, struct errtext *err)
{
	uint8_t *copy = malloc(n ? n : 1);
	int ret;

	memcpy(copy, at, n);
	ret = strainer_strain(s, copy, n, qemu_stream_keep, kept, err);
	free(copy);
	return ret;
}

/* A stream that the strainer refuses, and what it says. */
struct misfit {
	void (*put)(struct qemu_stream *s);
	const char *text;
};

static inline void expect_misfits(const struct misfit *misfits, size_t count)
{
	struct ram_map drop = dropped_blocks();

	for (size_t i = 0; i < count; i++) {
		_cleanup_stream_ struct qemu_stream in = {0}, kept = {0};
		struct strainer *s = strainer_for(&drop);
		struct errtext err = {0}, again = {0};

		misfits[i].put(&in);
		cr_expect_eq(strain_piece(s, in.bytes, in.n, &kept, &err), -EPROTO, "%s",
			     misfits[i].text);
		cr_expect(strstr(err.text, misfits[i].text), "'%s' is not in '%s'", misfits[i].text,
			  err.text);
		cr_expect_not(strainer_is_past_ram(s));
		cr_expect_eq(strain_piece(s, in.bytes, in.n, &kept, &again), -EPROTO);
		cr_expect(again.text[0]);
		strainer_destroy(s);
	}
	ram_map_destroy(&drop);
}
