// SPDX-License-Identifier: Apache-2.0
// The status of a running migration for people.
#include "status_text.h"

#include <stdbool.h>
#include <stdint.h>
#include "json_field.h"
#include "size_text.h"

#define PARTS_MAX 3

enum kind {
	TEXT,
	COUNT,
	COUNT_IF_ANY, /* left out if 0 */
	SIZE,
	RATE,
	RATE_LIMIT, /* 0: none */
	MILLISECONDS,
	SECONDS,	/* of milliseconds */
	SECONDS_IF_ANY, /* left out if 0 */
	FLAG,
};

/* "LABEL  before-value-after, before-value-after" */
static const struct row {
	const char *label;
	struct part {
		const char *key;
		enum kind kind;
		const char *before, *after;
	} parts[PARTS_MAX];
} rows[] = {
	{"phase",
	 {{"phase", TEXT, "", ""},
	  {"round", COUNT_IF_ANY, "round ", ""},
	  {"queued_ahead", COUNT_IF_ANY, "", " ahead of it"}}},
	{"lane", {{"lane", TEXT, "", ""}, {"mode", TEXT, "", ""}, {"tls", FLAG, "TLS ", ""}}},
	{"time",
	 {{"elapsed_ms", SECONDS, "for ", ""},
	  {"started", TEXT, "since ", ""},
	  {"eta_ms", SECONDS_IF_ANY, "about ", " to go"}}},
	{"memory",
	 {{"remaining_bytes", SIZE, "", " left"},
	  {"total_bytes", SIZE, "of ", ""},
	  {"transferred_bytes", SIZE, "", " sent"}}},
	{"rate", {{"bytes_per_s", RATE, "", ""}, {"dirty_bytes_per_s", RATE, "dirty ", ""}}},
	{"limits",
	 {{"bandwidth", RATE_LIMIT, "bandwidth ", ""},
	  {"max_downtime_ms", MILLISECONDS, "max-downtime ", ""},
	  {"post_copy", FLAG, "post-copy ", ""}}},
	{"throttle", {{"throttle_percent", COUNT_IF_ANY, "", " %"}}},
	{"decision", {{"decision", TEXT, "", ""}}},
	{"process", {{"pid", COUNT, "", ""}}},
	{"error", {{"error", TEXT, "", ""}}},
};

/* Of a number. False: to be left out. */
static bool number_text(enum kind kind, double n, char *buf, size_t size)
{
	char bytes[SIZE_TEXT_SIZE];

	if (kind == COUNT || kind == COUNT_IF_ANY)
		snprintf(buf, size, "%.0f", n);
	else if (kind == MILLISECONDS)
		snprintf(buf, size, "%.0f ms", n);
	else if (kind == SECONDS || kind == SECONDS_IF_ANY)
		snprintf(buf, size, "%.1f s", n / 1000);
	else if (kind == RATE_LIMIT && n < 1)
		snprintf(buf, size, "none");
	else
		snprintf(buf, size, "%s%s", size_text((uint64_t)n, bytes),
			 kind == SIZE ? "" : "/s");
	return (kind != COUNT_IF_ANY && kind != SECONDS_IF_ANY) || n >= 1;
}

/* False: to be left out. */
static bool part_text(json_object *status, const struct part *p, char *buf, size_t size)
{
	json_object *v = json_field(status, p->key);
	double n;

	if (!v)
		return false;
	if (p->kind == TEXT) {
		json_field_text(status, p->key, buf, size);
		return true;
	}
	if (p->kind == FLAG) {
		snprintf(buf, size, "%s", json_object_get_boolean(v) ? "yes" : "no");
		return true;
	}
	return json_field_number(status, p->key, &n) && number_text(p->kind, n, buf, size);
}

static void print_row(json_object *status, const struct row *r, FILE *to)
{
	bool begun = false;
	char buf[1024];

	for (int i = 0; i < PARTS_MAX && r->parts[i].key; i++) {
		const struct part *p = &r->parts[i];

		if (!part_text(status, p, buf, sizeof(buf)))
			continue;
		if (!begun)
			fprintf(to, "  %-9s ", r->label);
		fprintf(to, "%s%s%s%s", begun ? ", " : "", p->before, buf, p->after);
		begun = true;
	}
	if (begun)
		fputs("\n", to);
}

void status_text_print(json_object *status, FILE *to)
{
	char domain[256], uuid[64], direction[32], host[256];

	fprintf(to, "%s (%s)", json_field_text(status, "domain", domain, sizeof(domain)),
		json_field_text(status, "uuid", uuid, sizeof(uuid)));
	if (json_field(status, "direction"))
		fprintf(to, " %s",
			json_field_text(status, "direction", direction, sizeof(direction)));
	if (json_field(status, "host"))
		fprintf(to, ", %s", json_field_text(status, "host", host, sizeof(host)));
	fputs("\n", to);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		print_row(status, &rows[i], to);
}
