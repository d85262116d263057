// SPDX-License-Identifier: Apache-2.0
// Which of a source's calls may pass.
#include "tunnel_judge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "libvirt_rpc.h"
#include "migration_call.h"
#include "xdr_reader.h"

#define URI_MAX 64

/* remote_protocol.x: the client's strings are pointers, which may be NULL. */
static bool is_qemu_uri(struct xdr_reader *r)
{
	static const char scheme[] = "qemu:///";
	struct xdr_text uri;

	if (!xdr_uint(r))
		return false; /* the daemon would choose, perhaps another hypervisor */
	uri = xdr_text(r, URI_MAX);
	return !r->failed && uri.len > strlen(scheme) && !memcmp(uri.at, scheme, strlen(scheme));
}

static bool is_our_guest(struct xdr_reader *r, const struct definition_policy *policy)
{
	const uint8_t *raw = xdr_take(r, sizeof(uuid_t));
	uuid_t ours;

	return raw && uuid_parse(policy->uuid, ours) == 0 && !memcmp(raw, ours, sizeof(ours));
}

static int check_uri(const struct tunnel_policy *p, const char *uri, struct errtext *err)
{
	char wanted[URI_MAX + 128];

	snprintf(wanted, sizeof(wanted), "unix://%s", p->stream_path);
	if (uri && !strcmp(uri, wanted))
		return 0;
	return errtext_set(err, -EPERM,
			   "the destination does not take domain %s: its QEMU was to listen at %s, "
			   "not at %s",
			   p->definition.name, uri ? uri : "a place of its own choice", wanted);
}

static int check_name(const struct tunnel_policy *p, const char *name, struct errtext *err)
{
	if (!name || !strcmp(name, p->definition.name))
		return 0;
	return errtext_set(err, -EPERM,
			   "the destination does not take domain %s: it was to be named otherwise",
			   p->definition.name);
}

/* dray's monitor belongs to the guest that runs, never to what is kept of it. */
static int check_definitions(const struct tunnel_policy *p, const struct migration_call *call,
			     struct errtext *err)
{
	struct definition_policy kept = p->definition;
	int ret = check_name(p, call->name, err);

	kept.monitor_path = NULL;
	if (ret == 0 && call->destination_xml)
		ret = definition_check(call->destination_xml, &p->definition, err);
	if (ret == 0 && call->persistent_xml)
		ret = definition_check(call->persistent_xml, &kept, err);
	if (ret == 0 && call->cookie)
		ret = definition_check_cookie(call->cookie, &p->definition, err);
	return ret;
}

static int judge_prepare(struct tunnel_state *s, const struct tunnel_policy *p,
			 const uint8_t *message, size_t len, struct errtext *err)
{
	_cleanup_(migration_call_destroy) struct migration_call call = {0};
	int ret;

	if (s->prepared)
		return errtext_set(err, -EPROTO, "libvirt here was asked twice to prepare for %s",
				   p->definition.name);
	ret = migration_call_parse(message, len, MIGRATION_CALL_PREPARE, &call, err);
	if (ret == 0 && !call.destination_xml)
		ret = errtext_set(err, -EPROTO, "libvirt here was to prepare for no definition");
	if (ret == 0)
		ret = check_uri(p, call.uri, err);
	if (ret == 0)
		ret = check_definitions(p, &call, err);
	s->prepared = ret == 0;
	return ret;
}

static int judge_finish(struct tunnel_state *s, const struct tunnel_policy *p,
			const uint8_t *message, size_t len, struct errtext *err)
{
	_cleanup_(migration_call_destroy) struct migration_call call = {0};
	int ret;

	if (!s->prepared || s->finished)
		return errtext_set(err, -EPROTO, "libvirt here was asked to finish out of turn");
	ret = migration_call_parse(message, len, MIGRATION_CALL_FINISH, &call, err);
	if (ret == 0)
		ret = check_definitions(p, &call, err);
	s->finished = ret == 0;
	return ret;
}

int tunnel_judge(struct tunnel_state *state, const struct tunnel_policy *policy,
		 const uint8_t *message, size_t len, struct errtext *err)
{
	struct xdr_reader arguments = {.at = message, .left = len};

	xdr_take(&arguments, LIBVIRT_RPC_HEADER_SIZE);
	switch (libvirt_rpc_classify(message, len)) {
	case LIBVIRT_RPC_KEEPALIVE:
	case LIBVIRT_RPC_HARMLESS:
		return 0;
	case LIBVIRT_RPC_OPEN:
		if (is_qemu_uri(&arguments))
			return 0;
		break;
	case LIBVIRT_RPC_LOOKUP_BY_UUID:
		if (is_our_guest(&arguments, &policy->definition))
			return 0;
		break;
	case LIBVIRT_RPC_PREPARE:
		return judge_prepare(state, policy, message, len, err);
	case LIBVIRT_RPC_FINISH:
		return judge_finish(state, policy, message, len, err);
	default:
		break;
	}
	return errtext_set(err, -EPERM,
			   "the source called something in this host's libvirt (procedure %u) that "
			   "no migration of %s needs",
			   libvirt_rpc_procedure(message, len), policy->definition.name);
}
