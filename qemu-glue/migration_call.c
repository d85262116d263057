// SPDX-License-Identifier: Apache-2.0
// Arguments of libvirt's Prepare and Finish.
#include "migration_call.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include "libvirt_rpc.h"
#include "xdr_reader.h"

/* remote_protocol.x: REMOTE_DOMAIN_MIGRATE_PARAM_LIST_MAX, REMOTE_STRING_MAX,
 * REMOTE_MIGRATE_COOKIE_MAX. */
#define PARAMETERS_MAX 64
#define STRING_MAX (4u << 20)
#define COOKIE_MAX (4u << 20)

/* PAUSED: the client library adds it for a guest that is paused. */
#define FLAGS                                                                                      \
	(VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE |               \
	 VIR_MIGRATE_PAUSED)

struct parameter {
	const char *name;
	size_t offset; /* of its text in struct migration_call */
};

/* What dray's source gives, and libvirt's client library adds. */
static const struct parameter parameters[] = {
	{VIR_MIGRATE_PARAM_URI, offsetof(struct migration_call, uri)},
	{VIR_MIGRATE_PARAM_DEST_XML, offsetof(struct migration_call, destination_xml)},
	{VIR_MIGRATE_PARAM_PERSIST_XML, offsetof(struct migration_call, persistent_xml)},
	{VIR_MIGRATE_PARAM_DEST_NAME, offsetof(struct migration_call, name)},
};

/* A text with a NUL within would be one thing to us, another to whoever reads on. */
static int keep(struct xdr_text text, char **out, const char *what, struct errtext *err)
{
	if (*out)
		return errtext_set(err, -EPROTO, "libvirt's call gives %s twice", what);
	if (memchr(text.at, '\0', text.len))
		return errtext_set(err, -EPROTO, "libvirt's call gives %s with a NUL in it", what);
	*out = strndup(text.at, text.len);
	return *out ? 0 : errtext_set(err, -ENOMEM, "out of memory");
}

static bool is_named(struct xdr_text text, const char *name)
{
	return text.at && text.len == strlen(name) && memcmp(text.at, name, text.len) == 0;
}

static int read_parameter(struct xdr_reader *r, struct migration_call *call, struct errtext *err)
{
	struct xdr_text name = xdr_text(r, STRING_MAX);
	uint32_t type = xdr_uint(r);
	struct xdr_text value = {0};

	if (type == VIR_TYPED_PARAM_STRING)
		value = xdr_text(r, STRING_MAX);
	if (r->failed)
		return -EPROTO;
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		const struct parameter *p = &parameters[i];

		if (is_named(name, p->name) && value.at)
			return keep(value, (char **)((char *)call + p->offset), p->name, err);
	}
	return errtext_set(err, -EPROTO,
			   "libvirt's call sets %.*s, which dray's source never asks for",
			   (int)(name.len < 64 ? name.len : 64), name.at);
}

static int read_parameters(struct xdr_reader *r, struct migration_call *call, struct errtext *err)
{
	uint32_t count = xdr_uint(r);
	int ret = 0;

	if (count > PARAMETERS_MAX)
		r->failed = true;
	for (uint32_t i = 0; ret == 0 && !r->failed && i < count; i++)
		ret = read_parameter(r, call, err);
	return ret;
}

static int read_all(struct xdr_reader *r, struct migration_call *call, struct errtext *err)
{
	struct xdr_text cookie;
	int ret = read_parameters(r, call, err);

	if (ret == 0) {
		cookie = xdr_text(r, COOKIE_MAX);
		call->flags = xdr_uint(r);
		if (call->kind == MIGRATION_CALL_FINISH)
			call->cancelled = xdr_uint(r) != 0;
	}
	if (r->failed || (ret == 0 && r->left))
		return errtext_set(err, -EPROTO, "libvirt's call is damaged");
	if (ret == 0 && cookie.len) {
		/* libvirt's cookies end in a NUL, which is counted. */
		cookie.len -= cookie.at[cookie.len - 1] == '\0';
		ret = keep(cookie, &call->cookie, "a cookie", err);
	}
	if (ret == 0 && (call->flags & ~(uint32_t)FLAGS))
		ret = errtext_set(err, -EPROTO,
				  "libvirt's call has flags (%#x) that dray's source never sets",
				  call->flags);
	return ret;
}

int migration_call_parse(const uint8_t *message, size_t len, enum migration_call_kind kind,
			 struct migration_call *call, struct errtext *err)
{
	struct xdr_reader r = {.at = message, .left = len};
	int ret;

	*call = (struct migration_call){.kind = kind};
	xdr_take(&r, LIBVIRT_RPC_HEADER_SIZE);
	ret = read_all(&r, call, err);
	if (ret < 0)
		migration_call_destroy(call);
	return ret;
}

void migration_call_destroy(struct migration_call *call)
{
	free(call->uri);
	free(call->destination_xml);
	free(call->persistent_xml);
	free(call->name);
	free(call->cookie);
	*call = (struct migration_call){0};
}
