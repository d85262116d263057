// SPDX-License-Identifier: Apache-2.0
// The two calls by which libvirt's client library makes a guest on the destination: Prepare, which
// starts a QEMU for it, and Finish, which lets it run, or ends it.
//
// Their arguments are the same but for Finish's last one (libvirt's src/remote/remote_protocol.x,
// remote_domain_migrate_prepare3_params_args and ..._finish3_params_args):
//
//     typed parameters    name, type, value: the definitions, names and addresses
//     opaque cookie       XML; what the source's daemon tells the destination's
//     uint flags          VIR_MIGRATE_*
//     int cancelled       Finish only
//
// Stateless; any thread. The bytes come from another host and are taken for hostile.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "errtext.h"

enum migration_call_kind { MIGRATION_CALL_PREPARE, MIGRATION_CALL_FINISH };

/* NULL: not given. Owned; migration_call_destroy. */
struct migration_call {
	enum migration_call_kind kind;
	char *uri;	       /* where QEMU shall listen for its stream */
	char *destination_xml; /* the definition that QEMU is started from */
	char *persistent_xml;  /* the one that is kept on disk */
	char *name;
	char *cookie;
	uint32_t flags;
	bool cancelled; /* Finish: end it */
};

/* Reads a whole message, header included, of this kind. -EPROTO, with a text: it is none, or sets
 * something that dray's source never asks for. Nothing is to be given back then. */
int migration_call_parse(const uint8_t *message, size_t len, enum migration_call_kind kind,
			 struct migration_call *call, struct errtext *err);
void migration_call_destroy(struct migration_call *call);
