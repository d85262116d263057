// SPDX-License-Identifier: Apache-2.0
// The effective configuration of one migration: KubeVirt's fields, their values, and where each
// value came from.
//
// Plain data, owned by the caller, no pointers inside; any thread, one at a time. Each field is a
// row of one table: its key in configuration files and policies, its option, its type, range and
// default. Layers are applied in order, later ones win: defaults, --config or else SETTINGS_FILE,
// policy, options.
//
// allowWorkloadDisruption follows allowPostCopy for as long as nobody sets it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "compression.h"
#include "errtext.h"

#define SETTINGS_FILE "/etc/dray/dray.yaml"

enum setting {
	SETTING_BANDWIDTH,	    /* bytes per second on the wire; 0: no limit */
	SETTING_COMPLETION_TIMEOUT, /* seconds per GiB; 0: never */
	SETTING_PROGRESS_TIMEOUT,   /* seconds; 0: never */
	SETTING_ALLOW_POST_COPY,
	SETTING_ALLOW_WORKLOAD_DISRUPTION,
	SETTING_ALLOW_AUTO_CONVERGE,
	SETTING_MAX_DOWNTIME, /* milliseconds */
	SETTING_MAX_OUTBOUND, /* migrations at once on this host */
	SETTING_MAX_INBOUND,
	SETTING_COMPRESSION,  /* compression.h */
	SETTING_KEEP_PRIVATE, /* private memory is not made ready for the next move */
	SETTING_NETWORK,      /* address or interface; "": the route decides */
	SETTING_DISABLE_TLS,
	SETTING_TLS_DIR, /* of this host's credentials */
	SETTING_COUNT
};

enum setting_type {
	SETTING_QUANTITY,
	SETTING_NUMBER,
	SETTING_BOOL,
	SETTING_CODEC,
	SETTING_TEXT,
	SETTING_PATH
};

struct setting_row {
	const char *key;    /* in files */
	const char *option; /* without the dashes */
	enum setting_type type;
	uint64_t min, max; /* quantity: 0 is allowed as well; others: unused */
	const char *unit;  /* of a number, in the plural */
	const char *text;  /* default */
	bool policy;	   /* a MigrationPolicy may set it */
};

#define SETTING_TEXT_SIZE 256 /* of a path */
#define SETTING_SHORT_SIZE 64 /* of all others */
#define SETTING_ORIGIN_SIZE 288
#define SETTING_NAME_SIZE 254 /* of a policy */

struct setting_value {
	bool set;			  /* by a file, a policy or an option */
	uint64_t number;		  /* quantity, number; bool: 0 or 1 */
	char text[SETTING_TEXT_SIZE];	  /* as given */
	char origin[SETTING_ORIGIN_SIZE]; /* "default", "config FILE", "policy NAME", ... */
};

struct settings {
	struct setting_value value[SETTING_COUNT];
	bool post_copy_now;		/* --post-copy=now: do not wait for a time-out or stall */
	unsigned int policies;		/* policies that were looked at */
	char policy[SETTING_NAME_SIZE]; /* the one that matched; empty: none */
};

const struct setting_row *setting_row(enum setting which);
/* 0, or -ENOENT. */
int setting_find_key(const char *key, enum setting *which);
int setting_find_option(const char *option, enum setting *which);
/* yes, no, true, false, on, off in any case. 0, or -EINVAL. */
int setting_parse_bool(const char *text, bool *value);

/* All defaults, none `set`. */
void settings_init(struct settings *s);
/* Parse, check and take a value. -EINVAL or -ERANGE leaves s as it was; the error text names the
 * field, the value and the accepted form. An origin "option --NAME" names the field by itself, any
 * other is followed by the field's key. */
int settings_set(struct settings *s, enum setting which, const char *text, const char *origin,
		 struct errtext *err);
/* The same with a place of its own for the error text, such as "FILE:LINE: KEY". */
int settings_set_at(struct settings *s, enum setting which, const char *text, const char *origin,
		    const char *place, struct errtext *err);
/* Take over what is set in from, values with their origins. */
void settings_merge(struct settings *s, const struct settings *from);

uint64_t settings_number(const struct settings *s, enum setting which);
bool settings_bool(const struct settings *s, enum setting which);
struct compression settings_compression(const struct settings *s);
/* As given; lives as long as s. */
const char *settings_text(const struct settings *s, enum setting which);

/* Read a configuration file, YAML or JSON: a mapping of keys, alone or where KubeVirt users have it
 * (spec.liveMigrationConfig, spec.configuration.migrations, or either's last name at the top).
 * Unknown keys are errors, those which mean nothing to an engine are ignored, null is not set.
 * -EINVAL: the text; -EFBIG: more than 1 MiB; else why it could not be read. The error text names
 * file, line and key. s may hold a part of the values after an error. */
int settings_load(struct settings *s, const char *path, struct errtext *err);
/* The same for the file that holds without being named: none is no error, nor one that says
 * nothing. */
int settings_load_usual(struct settings *s, const char *path, struct errtext *err);
/* The same as settings_load from memory; name stands for the file in texts and origins. */
int settings_load_text(struct settings *s, const char *name, const char *text, size_t size,
		       struct errtext *err);
