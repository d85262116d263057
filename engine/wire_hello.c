// SPDX-License-Identifier: Apache-2.0
// The first bytes of every connection: hello, its reply, and the choice of a version.
//
//   hello   magic:4 min:2 max:2 features:8 session:16 kind:2 index:2 reserved:28
//   reply   magic:4 version:2 min:2 max:2 text_len:2 reserved:4 features:8 uuid:16 boot:16
//           reserved:8 text
#include "wire.h"

#include <assert.h>
#include <errno.h>

#include "wire_cursor.h"

#define HELLO_RESERVED 28
#define REPLY_RESERVED_1 4
#define REPLY_RESERVED_2 8

_Static_assert(4 + 2 + 2 + 8 + WIRE_SESSION_SIZE + 2 + 2 + HELLO_RESERVED == WIRE_HELLO_SIZE,
	       "fields of a hello");
_Static_assert(4 + 2 + 2 + 2 + 2 + REPLY_RESERVED_1 + 8 + 2 * WIRE_UUID_SIZE + REPLY_RESERVED_2 ==
		       WIRE_HELLO_REPLY_SIZE,
	       "fields of a hello reply");

void wire_hello_encode(const struct wire_hello *h, uint8_t buf[WIRE_HELLO_SIZE])
{
	struct wire_writer w = {.buf = buf, .size = WIRE_HELLO_SIZE};

	wire_put_u32(&w, WIRE_MAGIC);
	wire_put_u16(&w, h->version_min);
	wire_put_u16(&w, h->version_max);
	wire_put_u64(&w, h->features);
	wire_put_bytes(&w, h->session, sizeof(h->session));
	wire_put_u16(&w, (uint16_t)h->kind);
	wire_put_u16(&w, h->index);
	wire_put_zeroes(&w, HELLO_RESERVED);
	assert(!w.failed && w.used == WIRE_HELLO_SIZE);
}

static int check_magic(uint32_t magic, struct errtext *err)
{
	if (magic == WIRE_MAGIC)
		return 0;
	return errtext_set(err, -EPROTO,
			   "the peer does not speak dray's protocol (it began with 0x%08x): check "
			   "its address and port",
			   magic);
}

static int check_versions(uint16_t min, uint16_t max, struct errtext *err)
{
	if (min && min <= max)
		return 0;
	return errtext_set(err, -EPROTO,
			   "the peer's hello names an impossible range of versions, %u to %u", min,
			   max);
}

int wire_hello_decode(const uint8_t buf[WIRE_HELLO_SIZE], struct wire_hello *h, struct errtext *err)
{
	struct wire_reader r = {.buf = buf, .len = WIRE_HELLO_SIZE};
	uint32_t magic = wire_get_u32(&r);
	uint16_t kind;
	int rc;

	*h = (struct wire_hello){.version_min = wire_get_u16(&r)};
	h->version_max = wire_get_u16(&r);
	h->features = wire_get_u64(&r);
	wire_get_bytes(&r, h->session, sizeof(h->session));
	kind = wire_get_u16(&r);
	h->index = wire_get_u16(&r);

	rc = check_magic(magic, err);
	if (!rc)
		rc = check_versions(h->version_min, h->version_max, err);
	if (rc)
		return rc;
	if (kind < WIRE_KIND_CONTROL || kind > WIRE_KIND_LAST_)
		return errtext_set(err, -EPROTO,
				   "the peer's hello is for an unknown kind of connection, %u",
				   kind);
	if (h->index >= WIRE_STREAMS_MAX)
		return errtext_set(err, -EPROTO,
				   "the peer's hello is for stream %u, beyond the limit of %d",
				   h->index, WIRE_STREAMS_MAX);
	h->kind = (enum wire_kind)kind;
	return 0;
}

size_t wire_hello_reply_encode(const struct wire_hello_reply *r,
			       uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX])
{
	struct wire_writer w = {.buf = buf, .size = WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX};
	size_t text_len = strnlen(r->text, WIRE_TEXT_MAX);

	wire_put_u32(&w, WIRE_MAGIC);
	wire_put_u16(&w, r->version);
	wire_put_u16(&w, r->version_min);
	wire_put_u16(&w, r->version_max);
	wire_put_u16(&w, (uint16_t)text_len);
	wire_put_zeroes(&w, REPLY_RESERVED_1);
	wire_put_u64(&w, r->features);
	wire_put_bytes(&w, r->host_uuid, sizeof(r->host_uuid));
	wire_put_bytes(&w, r->boot_id, sizeof(r->boot_id));
	wire_put_zeroes(&w, REPLY_RESERVED_2);
	wire_put_bytes(&w, r->text, text_len);
	assert(!w.failed && w.used == WIRE_HELLO_REPLY_SIZE + text_len);
	return w.used;
}

int wire_hello_reply_decode(const uint8_t buf[WIRE_HELLO_REPLY_SIZE], struct wire_hello_reply *r,
			    size_t *text_len, struct errtext *err)
{
	struct wire_reader reader = {.buf = buf, .len = WIRE_HELLO_REPLY_SIZE};
	uint32_t magic = wire_get_u32(&reader);
	int rc;

	*r = (struct wire_hello_reply){.version = wire_get_u16(&reader)};
	r->version_min = wire_get_u16(&reader);
	r->version_max = wire_get_u16(&reader);
	*text_len = wire_get_u16(&reader);
	wire_skip(&reader, REPLY_RESERVED_1);
	r->features = wire_get_u64(&reader);
	wire_get_bytes(&reader, r->host_uuid, sizeof(r->host_uuid));
	wire_get_bytes(&reader, r->boot_id, sizeof(r->boot_id));

	rc = check_magic(magic, err);
	if (!rc)
		rc = check_versions(r->version_min, r->version_max, err);
	if (rc)
		return rc;
	if (r->version && (r->version < r->version_min || r->version > r->version_max))
		return errtext_set(err, -EPROTO,
				   "the destination chose version %u but speaks %u to %u",
				   r->version, r->version_min, r->version_max);
	if (*text_len > WIRE_TEXT_MAX)
		return errtext_set(err, -EPROTO,
				   "the destination's hello announces a text of %zu bytes, beyond "
				   "the limit of %d",
				   *text_len, WIRE_TEXT_MAX);
	return 0;
}

uint16_t wire_version_choose(uint16_t min_a, uint16_t max_a, uint16_t min_b, uint16_t max_b)
{
	uint16_t min = min_a > min_b ? min_a : min_b;
	uint16_t max = max_a < max_b ? max_a : max_b;

	return min <= max ? max : 0;
}
