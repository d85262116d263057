// SPDX-License-Identifier: Apache-2.0
// The table of settings, and one value of each.
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "quantity.h"

#define BANDWIDTH_MIN (64 << 10)
#define SECONDS_MAX 1000000
#define DOWNTIME_MAX_MS 2000000
#define MIGRATIONS_MAX 1024
#define FOLLOWS "follows allowPostCopy"
#define OPTION "option "
#define TLS_DIR "/etc/pki/dray"

static const struct setting_row rows[] = {
	[SETTING_BANDWIDTH] = {"bandwidthPerMigration", "bandwidth", SETTING_QUANTITY,
			       BANDWIDTH_MIN, UINT64_MAX, "bytes per second", "0", true},
	[SETTING_COMPLETION_TIMEOUT] = {"completionTimeoutPerGiB", "completion-timeout-per-gib",
					SETTING_NUMBER, 0, SECONDS_MAX, "seconds", "150", true},
	[SETTING_PROGRESS_TIMEOUT] = {"progressTimeout", "progress-timeout", SETTING_NUMBER, 0,
				      SECONDS_MAX, "seconds", "150", false},
	[SETTING_ALLOW_POST_COPY] = {"allowPostCopy", "post-copy", SETTING_BOOL, 0, 1, NULL,
				     "false", true},
	[SETTING_ALLOW_WORKLOAD_DISRUPTION] = {"allowWorkloadDisruption",
					       "allow-workload-disruption", SETTING_BOOL, 0, 1,
					       NULL, "false", true},
	[SETTING_ALLOW_AUTO_CONVERGE] = {"allowAutoConverge", "auto-converge", SETTING_BOOL, 0, 1,
					 NULL, "false", true},
	[SETTING_MAX_DOWNTIME] = {"maxDowntimeMs", "max-downtime", SETTING_NUMBER, 1,
				  DOWNTIME_MAX_MS, "milliseconds", "300", true},
	[SETTING_MAX_OUTBOUND] = {"parallelOutboundMigrationsPerNode", "max-outbound",
				  SETTING_NUMBER, 1, MIGRATIONS_MAX, "migrations", "2", false},
	[SETTING_MAX_INBOUND] = {"parallelInboundMigrationsPerNode", "max-inbound", SETTING_NUMBER,
				 1, MIGRATIONS_MAX, "migrations", "2", false},
	[SETTING_COMPRESSION] = {"compression", "compression", SETTING_CODEC, 0, 0, NULL, "none",
				 true},
	[SETTING_KEEP_PRIVATE] = {"keepPrivateMemory", "keep-private", SETTING_BOOL, 0, 1, NULL,
				  "false", false},
	[SETTING_NETWORK] = {"network", "bind", SETTING_TEXT, 0, 0, NULL, "", false},
	[SETTING_DISABLE_TLS] = {"disableTLS", "disable-tls", SETTING_BOOL, 0, 1, NULL, "false",
				 false},
	[SETTING_TLS_DIR] = {"tlsDir", "tls-dir", SETTING_PATH, 0, 0, NULL, TLS_DIR, false},
};
_Static_assert(sizeof(rows) / sizeof(*rows) == SETTING_COUNT, "one row each");

const struct setting_row *setting_row(enum setting which)
{
	return &rows[which];
}

int setting_find_key(const char *key, enum setting *which)
{
	for (*which = 0; *which < SETTING_COUNT; (*which)++)
		if (strcmp(rows[*which].key, key) == 0)
			return 0;
	return -ENOENT;
}

int setting_find_option(const char *option, enum setting *which)
{
	for (*which = 0; *which < SETTING_COUNT; (*which)++)
		if (strcmp(rows[*which].option, option) == 0)
			return 0;
	return -ENOENT;
}

int setting_parse_bool(const char *text, bool *value)
{
	static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		for (int yes = 0; yes < 2; yes++)
			if (strcasecmp(text, words[i][yes]) == 0) {
				*value = yes;
				return 0;
			}
	return -EINVAL;
}

static int parse_quantity(const struct setting_row *row, const char *text, uint64_t *n,
			  const char *place, struct errtext *err)
{
	struct errtext why = {0};
	int ret = quantity_parse(text, n, &why);

	if (ret)
		return errtext_set(err, ret, "%s: %s", place, why.text);
	if (*n && *n < row->min)
		return errtext_set(err, -ERANGE,
				   "%s: '%s' is %" PRIu64
				   " %s, surely a mistake in the unit: 0 (no "
				   "limit) or at least %" PRIu64 "Ki is needed, such as 64Mi or 1G",
				   place, text, *n, row->unit, row->min >> 10);
	return 0;
}

static int parse_number(const struct setting_row *row, const char *text, uint64_t *n,
			const char *place, struct errtext *err)
{
	size_t digits = strspn(text, "0123456789");

	errno = 0;
	*n = strtoull(text, NULL, 10);
	if (digits == 0 || text[digits] || errno || *n < row->min || *n > row->max)
		return errtext_set(err, -EINVAL,
				   "%s: '%s': a whole number of %s from %" PRIu64 " to %" PRIu64
				   " is needed, such as %s",
				   place, text, row->unit, row->min, row->max, row->text);
	return 0;
}

static int check_codec(const char *text, const char *place, struct errtext *err)
{
	struct compression how;

	if (compression_parse(text, &how) == 0)
		return 0;
	return errtext_set(err, -EINVAL,
			   "%s: '%s': auto, none, zstd or zstd:LEVEL is needed, LEVEL from 1 to %d",
			   place, text, COMPRESSION_LEVEL_MAX);
}

/* An address or interface never has blanks; control characters would spoil a message. */
static int check_text(const char *text, const char *place, struct errtext *err)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return errtext_set(err, -EINVAL,
					   "%s: '%s' has a blank or control character: one address "
					   "or network interface is needed, such as 10.78.0.1 or "
					   "eth1",
					   place, text);
	return 0;
}

/* The process that outlives this one reads it, too, from another working directory. */
static int check_path(const char *text, const char *place, struct errtext *err)
{
	bool plain = *text == '/';

	for (const char *p = text; *p; p++)
		plain = plain && (unsigned char)*p >= ' ' && *p != 0x7f;
	if (plain)
		return 0;
	return errtext_set(err, -EINVAL, "%s: '%s': a whole path is needed, such as " TLS_DIR,
			   place, text);
}

static int parse_value(const struct setting_row *row, const char *text, uint64_t *n,
		       const char *place, struct errtext *err)
{
	bool yes = false;

	switch (row->type) {
	case SETTING_QUANTITY:
		return parse_quantity(row, text, n, place, err);
	case SETTING_NUMBER:
		return parse_number(row, text, n, place, err);
	case SETTING_BOOL:
		if (setting_parse_bool(text, &yes) < 0)
			return errtext_set(err, -EINVAL,
					   "%s: '%s': yes or no, true or false is needed", place,
					   text);
		*n = yes;
		return 0;
	case SETTING_CODEC:
		return check_codec(text, place, err);
	case SETTING_TEXT:
		return check_text(text, place, err);
	case SETTING_PATH:
		return check_path(text, place, err);
	}
	return -EINVAL;
}

static void follow(struct settings *s)
{
	const struct setting_value *from = &s->value[SETTING_ALLOW_POST_COPY];
	struct setting_value *to = &s->value[SETTING_ALLOW_WORKLOAD_DISRUPTION];

	if (to->set)
		return;
	*to = (struct setting_value){.number = from->number, .origin = FOLLOWS};
	strcpy(to->text, from->number ? "true" : "false");
}

static void store(struct setting_value *v, const char *text, uint64_t n, const char *origin)
{
	snprintf(v->text, sizeof(v->text), "%s", text);
	snprintf(v->origin, sizeof(v->origin), "%s", origin);
	v->number = n;
}

void settings_init(struct settings *s)
{
	*s = (struct settings){0};
	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		uint64_t n = 0;

		parse_value(&rows[i], rows[i].text, &n, rows[i].key, NULL);
		store(&s->value[i], rows[i].text, n, "default");
	}
	follow(s);
}

int settings_set_at(struct settings *s, enum setting which, const char *text, const char *origin,
		    const char *place, struct errtext *err)
{
	size_t size = rows[which].type == SETTING_PATH ? SETTING_TEXT_SIZE : SETTING_SHORT_SIZE;
	uint64_t n = 0;
	int ret;

	if (strlen(text) >= size)
		return errtext_set(err, -EINVAL,
				   "%s: '%.32s...': at most %zu characters are needed", place, text,
				   size - 1);
	ret = parse_value(&rows[which], text, &n, place, err);
	if (ret)
		return ret;
	store(&s->value[which], text, n, origin);
	s->value[which].set = true;
	if (which == SETTING_ALLOW_POST_COPY)
		s->post_copy_now = false;
	follow(s);
	return 0;
}

int settings_set(struct settings *s, enum setting which, const char *text, const char *origin,
		 struct errtext *err)
{
	char place[ERRTEXT_SIZE];

	if (strncmp(origin, OPTION, strlen(OPTION)) == 0)
		snprintf(place, sizeof(place), "%s", origin + strlen(OPTION));
	else
		snprintf(place, sizeof(place), "%s: %s", origin, rows[which].key);
	return settings_set_at(s, which, text, origin, place, err);
}

void settings_merge(struct settings *s, const struct settings *from)
{
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (from->value[i].set)
			s->value[i] = from->value[i];
	if (from->value[SETTING_ALLOW_POST_COPY].set)
		s->post_copy_now = from->post_copy_now;
	follow(s);
}

uint64_t settings_number(const struct settings *s, enum setting which)
{
	return s->value[which].number;
}

bool settings_bool(const struct settings *s, enum setting which)
{
	return s->value[which].number != 0;
}

struct compression settings_compression(const struct settings *s)
{
	struct compression how;

	(void)compression_parse(s->value[SETTING_COMPRESSION].text, &how); /* it was checked */
	return how;
}

const char *settings_text(const struct settings *s, enum setting which)
{
	return s->value[which].text;
}
