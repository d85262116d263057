// SPDX-License-Identifier: Apache-2.0
// A strainer from inside, for strainer*.c only.
#pragma once

#include <endian.h>
#include <stdatomic.h>
#include <string.h>
#include "ram_map.h"
#include "strainer.h"

#define STRAINER_NAME_MAX 255u
/* A name and 8 bytes of numbers. */
#define STRAINER_HEAD_MAX (STRAINER_NAME_MAX + 8)

/* What is gathered now. */
enum strainer_step {
	STRAINER_HEADER,
	STRAINER_TYPE,
	STRAINER_CONFIGURATION,
	STRAINER_SUBSECTION_LENGTH,
	STRAINER_SUBSECTION,
	STRAINER_COMMAND,
	STRAINER_START_LENGTH,
	STRAINER_START,
	STRAINER_SECTION,
	STRAINER_FOOTER,
	STRAINER_ITEM,
	STRAINER_LISTED_LENGTH,
	STRAINER_LISTED,
	STRAINER_BLOCK_LENGTH,
	STRAINER_BLOCK,
	STRAINER_PASS, /* nothing any more */
};

enum strainer_ram_state { STRAINER_RAM_AWAITED, STRAINER_RAM_BEGUN, STRAINER_RAM_ENDED };

struct strainer {
	/* constant after init */
	const struct ram_map *drop;

	/* the straining thread */
	int failed;
	enum strainer_step step;
	size_t have, need; /* of the head */
	uint8_t head[STRAINER_HEAD_MAX];
	size_t body; /* bytes that come before the head */
	bool body_kept;

	bool begun;	 /* a first section or the like has come */
	bool footer_due; /* a section has just ended */
	enum strainer_ram_state ram;
	uint32_t ram_id;
	bool starts, ends; /* the section in hand: the first, the last */

	uint64_t unlisted; /* bytes of MEM_SIZE whose blocks have not come */
	bool has_list;
	bool listed[RAM_BLOCKS_MAX]; /* as in drop */

	uint64_t item;
	/* the block of the latest page */
	uint8_t name_length; /* 0: there was none */
	uint8_t name[STRAINER_NAME_MAX];
	const struct ram_block *block; /* NULL: its pages are kept */

	/* written by the straining thread, read by any; relaxed: statistics */
	_Atomic uint64_t data_pages, zero_pages, read_bytes, kept_bytes;
	atomic_bool past_ram;
};

/* Where what is kept goes, and what is wrong. */
struct strainer_sink {
	int (*keep)(void *opaque, const uint8_t *at, size_t n);
	void *opaque;
	struct errtext *err;
};

/* ---- strainer_head.c: gathering and keeping ---- */

/* One thread writes, others may read. */
void strainer_count(_Atomic uint64_t *counter, uint64_t n);
/* -EPROTO, and the text that says what came. */
int strainer_misfit(const struct strainer *s, const struct strainer_sink *to, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int strainer_keep(struct strainer *s, const struct strainer_sink *to, const uint8_t *at, size_t n);
/* The next n (> 0) bytes are a head, for this step. */
void strainer_gather(struct strainer *s, enum strainer_step step, size_t n);
/* Keeps the head that was gathered, and goes on. */
int strainer_keep_head(struct strainer *s, const struct strainer_sink *to, enum strainer_step next,
		       size_t n);
/* n bytes come before the head that is gathered next. */
void strainer_set_body(struct strainer *s, size_t n, bool kept);

/* ---- strainer_vm.c, strainer_ram.c: a head is complete ---- */

int strainer_vm_take(struct strainer *s, const struct strainer_sink *to);
int strainer_ram_take(struct strainer *s, const struct strainer_sink *to);

static inline uint32_t strainer_be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t strainer_be32(const uint8_t *at)
{
	return strainer_be16(at) << 16 | strainer_be16(at + 2);
}

static inline uint64_t strainer_be64(const uint8_t *at)
{
	uint64_t raw;

	memcpy(&raw, at, sizeof(raw));
	return be64toh(raw);
}
