// SPDX-License-Identifier: Apache-2.0
// Control messages: a header, and one body layout per type, each a row of a table.
//
//   header  type:2 reserved:2 body_len:4
//   string  len:2, then that many bytes, none of them NUL
//
// A body is exactly as long as its fields say: bytes left over are an error like bytes missing.
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "wire_cursor.h"

#define BLOCK_NAME_LEN_MAX (RAM_BLOCK_NAME_MAX - 1)
#define BLOCK_WIRE_MAX (2 + BLOCK_NAME_LEN_MAX + 8 + 4 + 8)

_Static_assert(2 + WIRE_NAME_MAX + WIRE_UUID_SIZE + 2 + 4 + 1 + 2 +
			       RAM_BLOCKS_MAX * BLOCK_WIRE_MAX <=
		       WIRE_BODY_MAX,
	       "the longest PREPARE fits");
_Static_assert(2 * (2 + WIRE_TEXT_MAX) <= WIRE_BODY_MAX, "the longest PREPARED fits");
_Static_assert(2 + RAM_BLOCKS_MAX * 16 <= WIRE_BODY_MAX, "the longest DIGEST fits");
_Static_assert(2 + 8 + 4 + WIRE_PROOF_PAGES_MAX / 8 + WIRE_PROOF_PAGES_MAX * 8 <= WIRE_BODY_MAX,
	       "the longest PROOF fits");
_Static_assert(ERRTEXT_SIZE - 1 <= WIRE_TEXT_MAX, "any error text fits");

/* What a message points to; its size is ours, never the peer's. */
static void *new_part(size_t size, struct errtext *err)
{
	void *part = calloc(1, size);

	if (!part)
		errtext_set(err, -ENOMEM, "out of memory for a message of the peer");
	return part;
}

/* Any bytes but NUL. into has room for max bytes and a NUL. */
static int get_string(struct wire_reader *r, char *into, size_t max, struct errtext *err)
{
	size_t len = wire_get_u16(r);

	if (len > max)
		return errtext_set(err, -EPROTO,
				   "the peer sent a string of %zu bytes, beyond the limit of %zu",
				   len, max);
	wire_get_bytes(r, into, len);
	into[len] = '\0';
	if (!r->failed && strlen(into) != len)
		return errtext_set(err, -EPROTO, "the peer sent a string with a NUL inside");
	return 0;
}

/* A name or path: no control characters either, since these end up in messages, XML and QMP. */
static int get_name(struct wire_reader *r, char *into, size_t max, struct errtext *err)
{
	int rc = get_string(r, into, max, err);

	for (const char *c = into; !rc && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			rc = errtext_set(err, -EPROTO,
					 "the peer sent a name with a control character, 0x%02x",
					 (unsigned int)*c);
	return rc;
}

/* A text for people; *text becomes the message's, whatever is returned. */
static int get_text(struct wire_reader *r, const char **text, struct errtext *err)
{
	char *own = new_part(WIRE_TEXT_MAX + 1, err);
	int rc = own ? get_string(r, own, WIRE_TEXT_MAX, err) : -ENOMEM;

	*text = own;
	if (rc == 0)
		errtext_make_printable(own);
	return rc;
}

static int get_path(struct wire_reader *r, const char **path, struct errtext *err)
{
	char *own = new_part(WIRE_TEXT_MAX + 1, err);

	*path = own;
	return own ? get_name(r, own, WIRE_TEXT_MAX, err) : -ENOMEM;
}

static void put_text(struct wire_writer *w, const char *text)
{
	wire_put_string(w, text ? text : "", WIRE_TEXT_MAX);
}

static void put_blocks(struct wire_writer *w, const struct ram_map *map)
{
	if (map->count > RAM_BLOCKS_MAX)
		w->failed = true;
	wire_put_u16(w, (uint16_t)map->count);
	for (unsigned int i = 0; i < map->count && !w->failed; i++) {
		wire_put_string(w, map->blocks[i].name, BLOCK_NAME_LEN_MAX);
		wire_put_u64(w, map->blocks[i].size);
		wire_put_u32(w, map->blocks[i].page_size);
		wire_put_u64(w, map->blocks[i].allocated);
	}
}

static int get_block(struct wire_reader *r, struct ram_map *map, struct errtext *err)
{
	struct ram_block block = {.fd = -1};
	int rc = get_name(r, block.name, BLOCK_NAME_LEN_MAX, err);

	block.size = wire_get_u64(r);
	block.page_size = wire_get_u32(r);
	block.allocated = wire_get_u64(r);
	if (rc || r->failed)
		return rc;
	rc = ram_map_add(map, &block, err);
	return rc && rc != -ENOMEM ? -EPROTO : rc;
}

static int get_blocks(struct wire_reader *r, struct ram_map *map, struct errtext *err)
{
	unsigned int count = wire_get_u16(r);
	int rc = 0;

	if (count > RAM_BLOCKS_MAX)
		return errtext_set(err, -EPROTO,
				   "the peer's guest has %u RAM blocks, beyond the limit of %d",
				   count, RAM_BLOCKS_MAX);
	for (unsigned int i = 0; i < count && !rc && !r->failed; i++)
		rc = get_block(r, map, err);
	return rc;
}

static int get_flag(struct wire_reader *r, bool *flag, struct errtext *err)
{
	uint8_t byte = wire_get_u8(r);

	if (byte > 1)
		return errtext_set(err, -EPROTO, "the peer says %u where 0 or 1 is expected", byte);
	*flag = byte;
	return 0;
}

static void put_prepare(struct wire_writer *w, const struct wire_message *m)
{
	const struct wire_prepare *p = &m->prepare;

	wire_put_string(w, p->name, WIRE_NAME_MAX);
	wire_put_bytes(w, p->uuid, sizeof(p->uuid));
	wire_put_u16(w, p->streams);
	wire_put_u32(w, p->silence_ms);
	wire_put_u8(w, p->running);
	wire_put_u8(w, p->autostart);
	wire_put_u8(w, p->strained);
	wire_put_u8(w, p->trial);
	put_blocks(w, &p->ram);
}

static int get_prepare(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	struct wire_prepare *p = &m->prepare;
	int rc = get_name(r, p->name, WIRE_NAME_MAX, err);

	wire_get_bytes(r, p->uuid, sizeof(p->uuid));
	p->streams = wire_get_u16(r);
	p->silence_ms = wire_get_u32(r);
	if (!rc)
		rc = get_flag(r, &p->running, err);
	if (!rc)
		rc = get_flag(r, &p->autostart, err);
	if (!rc)
		rc = get_flag(r, &p->strained, err);
	if (!rc)
		rc = get_flag(r, &p->trial, err);
	if (rc || r->failed)
		return rc;
	if (!p->name[0])
		return errtext_set(err, -EPROTO, "the peer sent a guest without a name");
	if (p->streams < 1 || p->streams > WIRE_STREAMS_MAX)
		return errtext_set(err, -EPROTO, "the peer wants %u RAM streams, not 1 to %d",
				   p->streams, WIRE_STREAMS_MAX);
	if (p->silence_ms < 1 || p->silence_ms > WIRE_SILENCE_MAX_MS)
		return errtext_set(err, -EPROTO, "the peer allows %u ms of silence, not 1 to %u",
				   p->silence_ms, WIRE_SILENCE_MAX_MS);
	return get_blocks(r, &p->ram, err);
}

static void put_prepared(struct wire_writer *w, const struct wire_message *m)
{
	put_text(w, m->prepared.monitor_path);
	put_text(w, m->prepared.stream_path);
}

static int get_prepared(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	int rc = get_path(r, &m->prepared.monitor_path, err);

	return rc ? rc : get_path(r, &m->prepared.stream_path, err);
}

static void put_synced(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u16(w, m->synced.stream);
	wire_put_u32(w, m->synced.round);
}

static int get_synced(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	m->synced.stream = wire_get_u16(r);
	m->synced.round = wire_get_u32(r);
	if (m->synced.stream >= WIRE_STREAMS_MAX)
		return errtext_set(err, -EPROTO,
				   "the peer synced RAM stream %u, beyond the limit of %d",
				   m->synced.stream, WIRE_STREAMS_MAX);
	return 0;
}

static void put_ping(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u64(w, m->ping.sent_us);
	wire_put_u64(w, m->ping.peer_us);
}

static int get_ping(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	m->ping.sent_us = wire_get_u64(r);
	m->ping.peer_us = wire_get_u64(r);
	return 0;
}

static void put_digest(struct wire_writer *w, const struct wire_message *m)
{
	const struct wire_digest *d = m->digest;

	if (d->count > RAM_BLOCKS_MAX)
		w->failed = true;
	wire_put_u16(w, d->count);
	wire_put_bytes(w, d->digest, d->count * sizeof(d->digest[0]));
}

static int get_digest(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	uint16_t count = wire_get_u16(r);
	struct wire_digest *d;

	if (count > RAM_BLOCKS_MAX)
		return errtext_set(err, -EPROTO,
				   "the peer sent digests of %u RAM blocks, beyond the limit of %d",
				   count, RAM_BLOCKS_MAX);
	m->digest = d = new_part(sizeof(*d), err);
	if (!d)
		return -ENOMEM;
	d->count = count;
	wire_get_bytes(r, d->digest, count * sizeof(d->digest[0]));
	return 0;
}

static void put_queued(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u32(w, m->queued.ahead);
}

static int get_queued(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	m->queued.ahead = wire_get_u32(r);
	return 0;
}

static void put_backing(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u8(w, m->backing.shared);
	put_text(w, m->backing.text);
}

static int get_backing(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	int rc = get_flag(r, &m->backing.shared, err);

	return rc ? rc : get_text(r, &m->backing.text, err);
}

static void put_listen(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u8(w, m->listen.prove);
}

static int get_listen(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	return get_flag(r, &m->listen.prove, err);
}

static void put_listening(struct wire_writer *w, const struct wire_message *m)
{
	put_text(w, m->listening.text);
}

static int get_listening(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	return get_text(r, &m->listening.text, err);
}

static void put_owed(struct wire_writer *w, const struct wire_message *m)
{
	const struct wire_owed *o = m->owed;

	wire_put_u16(w, o->block);
	wire_put_u16(w, o->count);
	for (unsigned int i = 0; i < o->count && i < WIRE_OWED_RUNS_MAX; i++) {
		wire_put_u64(w, o->run[i].first);
		wire_put_u32(w, o->run[i].count);
	}
	w->failed |= o->count > WIRE_OWED_RUNS_MAX;
}

static int get_owed(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	uint16_t block = wire_get_u16(r), count = wire_get_u16(r);
	struct wire_owed *o;

	if (count > WIRE_OWED_RUNS_MAX)
		return errtext_set(
			err, -EPROTO,
			"the peer is owed %u runs of pages at once, beyond the limit of %d", count,
			WIRE_OWED_RUNS_MAX);
	m->owed = o = new_part(sizeof(*o), err);
	if (!o)
		return -ENOMEM;
	o->block = block;
	o->count = count;
	for (unsigned int i = 0; i < count; i++) {
		o->run[i].first = wire_get_u64(r);
		o->run[i].count = wire_get_u32(r);
	}
	return 0;
}

static void put_complete(struct wire_writer *w, const struct wire_message *m)
{
	const struct wire_complete *c = &m->complete;

	wire_put_u64(w, c->faults);
	wire_put_u64(w, c->fault_p50_us);
	wire_put_u64(w, c->fault_p99_us);
	wire_put_u64(w, c->fault_max_us);
	wire_put_u64(w, c->pages_fault);
	wire_put_u64(w, c->pages_push);
	wire_put_u64(w, c->pages_prefetch);
	wire_put_u64(w, c->holes);
	wire_put_u64(w, c->duration_us);
	wire_put_u8(w, c->balloon_still);
}

static int get_complete(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	struct wire_complete *c = &m->complete;

	c->faults = wire_get_u64(r);
	c->fault_p50_us = wire_get_u64(r);
	c->fault_p99_us = wire_get_u64(r);
	c->fault_max_us = wire_get_u64(r);
	c->pages_fault = wire_get_u64(r);
	c->pages_push = wire_get_u64(r);
	c->pages_prefetch = wire_get_u64(r);
	c->holes = wire_get_u64(r);
	c->duration_us = wire_get_u64(r);
	return get_flag(r, &c->balloon_still, err);
}

static void put_proof(struct wire_writer *w, const struct wire_message *m)
{
	const struct wire_proof *p = m->proof;

	wire_put_u16(w, p->block);
	wire_put_u64(w, p->first);
	wire_put_u32(w, p->count);
	if (p->count > WIRE_PROOF_PAGES_MAX) {
		w->failed = true;
		return;
	}
	wire_put_bytes(w, p->written, (p->count + 7) / 8);
	for (uint32_t i = 0; i < p->count; i++)
		wire_put_u64(w, p->hash[i]);
}

static int get_proof(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	struct wire_proof *p = new_part(sizeof(*p), err);

	m->proof = p;
	if (!p)
		return -ENOMEM;
	p->block = wire_get_u16(r);
	p->first = wire_get_u64(r);
	p->count = wire_get_u32(r);
	if (!r->failed && (p->count < 1 || p->count > WIRE_PROOF_PAGES_MAX))
		return errtext_set(err, -EPROTO, "the peer proves %" PRIu32 " pages, not 1 to %u",
				   p->count, WIRE_PROOF_PAGES_MAX);
	if (r->failed)
		return 0;
	wire_get_bytes(r, p->written, (p->count + 7) / 8);
	for (uint32_t i = 0; i < p->count; i++)
		p->hash[i] = wire_get_u64(r);
	return 0;
}

static void put_proven(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u64(w, m->proven.equal);
	wire_put_u64(w, m->proven.unequal);
}

static int get_proven(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	m->proven.equal = wire_get_u64(r);
	m->proven.unequal = wire_get_u64(r);
	return 0;
}

static void put_resumed(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u64(w, m->resumed.time_us);
}

static int get_resumed(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	m->resumed.time_us = wire_get_u64(r);
	return 0;
}

static void put_arrival(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u64(w, m->arrival.release_us);
	wire_put_u64(w, m->arrival.load_us);
	wire_put_u64(w, m->arrival.finish_us);
	wire_put_u64(w, m->arrival.told_us);
}

static int get_arrival(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	m->arrival.release_us = wire_get_u64(r);
	m->arrival.load_us = wire_get_u64(r);
	m->arrival.finish_us = wire_get_u64(r);
	m->arrival.told_us = wire_get_u64(r);
	return 0;
}

static void put_abort(struct wire_writer *w, const struct wire_message *m)
{
	put_text(w, m->abort.text);
	wire_put_u8(w, (uint8_t)m->abort.why);
}

static int get_abort(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	int rc = get_text(r, &m->abort.text, err);
	uint8_t why = wire_get_u8(r);

	if (!rc && why >= WIRE_ABORT_END_)
		rc = errtext_set(err, -EPROTO, "the peer gives up in an unknown way, %u", why);
	m->abort.why = (enum wire_abort)why;
	return rc;
}

static void put_query(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_bytes(w, m->query.uuid, sizeof(m->query.uuid));
	wire_put_bytes(w, m->query.host_uuid, sizeof(m->query.host_uuid));
	wire_put_bytes(w, m->query.session, sizeof(m->query.session));
}

static int get_query(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	(void)err;
	wire_get_bytes(r, m->query.uuid, sizeof(m->query.uuid));
	wire_get_bytes(r, m->query.host_uuid, sizeof(m->query.host_uuid));
	wire_get_bytes(r, m->query.session, sizeof(m->query.session));
	return 0;
}

static void put_state(struct wire_writer *w, const struct wire_message *m)
{
	wire_put_u16(w, (uint16_t)m->state.state);
	put_text(w, m->state.text);
}

static int get_state(struct wire_reader *r, struct wire_message *m, struct errtext *err)
{
	uint16_t state = wire_get_u16(r);

	if (!r->failed && (state < WIRE_STATE_ABSENT || state >= WIRE_STATE_END_))
		return errtext_set(err, -EPROTO, "the peer reports an unknown guest state, %u",
				   state);
	m->state.state = (enum wire_state)state;
	return get_text(r, &m->state.text, err);
}

/* put sets w->failed for a string or count beyond its limit. get returns 0 when the reader ran
 * dry, which wire_body_decode notices by itself, and a filled error text otherwise. */
static const struct wire_row {
	const char *name;
	void (*put)(struct wire_writer *w, const struct wire_message *m); /* NULL: no body */
	int (*get)(struct wire_reader *r, struct wire_message *m, struct errtext *err);
} rows[] = {
	[WIRE_PREPARE] = {"PREPARE", put_prepare, get_prepare},
	[WIRE_PREPARED] = {"PREPARED", put_prepared, get_prepared},
	[WIRE_READY] = {"READY"},
	[WIRE_SYNCED] = {"SYNCED", put_synced, get_synced},
	[WIRE_PING] = {"PING", put_ping, get_ping},
	[WIRE_PONG] = {"PONG", put_ping, get_ping},
	[WIRE_DIGEST_REQUEST] = {"DIGEST_REQUEST"},
	[WIRE_DIGEST] = {"DIGEST", put_digest, get_digest},
	[WIRE_RELEASE] = {"RELEASE"},
	[WIRE_RELEASED] = {"RELEASED"},
	[WIRE_QUEUED] = {"QUEUED", put_queued, get_queued},
	[WIRE_LISTEN] = {"LISTEN", put_listen, get_listen},
	[WIRE_LISTENING] = {"LISTENING", put_listening, get_listening},
	[WIRE_OWED] = {"OWED", put_owed, get_owed},
	[WIRE_OWED_END] = {"OWED_END"},
	[WIRE_COMPLETE] = {"COMPLETE", put_complete, get_complete},
	[WIRE_PROOF] = {"PROOF", put_proof, get_proof},
	[WIRE_PROVEN] = {"PROVEN", put_proven, get_proven},
	[WIRE_WAITING] = {"WAITING", put_abort, get_abort},
	[WIRE_BACKING] = {"BACKING", put_backing, get_backing},
	[WIRE_ARRIVAL] = {"ARRIVAL", put_arrival, get_arrival},
	[WIRE_RESUMED] = {"RESUMED", put_resumed, get_resumed},
	[WIRE_FINISH] = {"FINISH"},
	[WIRE_FINISHED] = {"FINISHED"},
	[WIRE_ABORT] = {"ABORT", put_abort, get_abort},
	[WIRE_QUERY] = {"QUERY", put_query, get_query},
	[WIRE_DISCARD] = {"DISCARD", put_query, get_query},
	[WIRE_STATE] = {"STATE", put_state, get_state},
};

_Static_assert(sizeof(rows) / sizeof(rows[0]) == WIRE_TYPE_END_, "one row for each type");

static bool type_known(unsigned int type)
{
	return type >= WIRE_PREPARE && type < WIRE_TYPE_END_;
}

const char *wire_type_name(unsigned int type)
{
	return type_known(type) ? rows[type].name : "?";
}

long wire_message_encode(const struct wire_message *m, uint8_t *buf, size_t size)
{
	struct wire_writer header = {.buf = buf, .size = WIRE_HEADER_SIZE};
	struct wire_writer body = {.buf = buf};

	if (!type_known(m->type))
		return -EINVAL;
	if (size < WIRE_HEADER_SIZE)
		return -EMSGSIZE;
	body.buf += WIRE_HEADER_SIZE;
	body.size = size - WIRE_HEADER_SIZE;
	if (rows[m->type].put)
		rows[m->type].put(&body, m);
	if (body.failed)
		return -EMSGSIZE;
	wire_put_u16(&header, (uint16_t)m->type);
	wire_put_zeroes(&header, 2);
	wire_put_u32(&header, (uint32_t)body.used);
	return (long)(header.used + body.used);
}

int wire_header_decode(const uint8_t buf[WIRE_HEADER_SIZE], enum wire_type *type,
		       uint32_t *body_len, struct errtext *err)
{
	struct wire_reader r = {.buf = buf, .len = WIRE_HEADER_SIZE};
	unsigned int wire_type = wire_get_u16(&r);
	uint32_t len;

	wire_skip(&r, 2);
	len = wire_get_u32(&r);
	if (!type_known(wire_type))
		return errtext_set(err, -EPROTO, "the peer sent a message of unknown type %u",
				   wire_type);
	if (len > WIRE_BODY_MAX)
		return errtext_set(err, -EPROTO,
				   "the peer announced a %s of %" PRIu32
				   " bytes, beyond the limit of %u",
				   rows[wire_type].name, len, WIRE_BODY_MAX);
	*type = (enum wire_type)wire_type;
	*body_len = len;
	return 0;
}

static int decode_row(enum wire_type type, struct wire_reader *r, struct wire_message *m,
		      struct errtext *err)
{
	const struct wire_row *row = &rows[type];
	int rc = row->get ? row->get(r, m, err) : 0;

	if (rc)
		return rc;
	if (r->failed)
		return errtext_set(err, -EPROTO, "the peer's %s is cut short, at %zu bytes",
				   row->name, r->len);
	if (r->used < r->len)
		return errtext_set(err, -EPROTO, "the peer's %s has %zu bytes too many", row->name,
				   r->len - r->used);
	return 0;
}

int wire_body_decode(enum wire_type type, const uint8_t *body, size_t len, struct wire_message *m,
		     struct errtext *err)
{
	struct wire_reader r = {.buf = body, .len = len};
	int rc;

	memset(m, 0, sizeof(*m));
	if (!type_known(type))
		return errtext_set(err, -EPROTO, "a message of unknown type %d", (int)type);
	m->type = type;
	rc = decode_row(type, &r, m, err);
	if (rc)
		wire_message_destroy(m);
	return rc;
}

void wire_message_destroy(struct wire_message *m)
{
	switch (m->type) {
	case WIRE_PREPARE:
		ram_map_destroy(&m->prepare.ram);
		break;
	case WIRE_PREPARED:
		free((void *)m->prepared.monitor_path);
		free((void *)m->prepared.stream_path);
		break;
	case WIRE_BACKING:
		free((void *)m->backing.text);
		break;
	case WIRE_LISTENING:
		free((void *)m->listening.text);
		break;
	case WIRE_ABORT:
	case WIRE_WAITING:
		free((void *)m->abort.text);
		break;
	case WIRE_STATE:
		free((void *)m->state.text);
		break;
	case WIRE_DIGEST:
		free((void *)m->digest);
		break;
	case WIRE_OWED:
		free((void *)m->owed);
		break;
	case WIRE_PROOF:
		free((void *)m->proof);
		break;
	default:
		break;
	}
	memset(m, 0, sizeof(*m));
}

struct wire_message wire_message_steal(struct wire_message *m)
{
	struct wire_message stolen = *m;

	memset(m, 0, sizeof(*m));
	return stolen;
}
