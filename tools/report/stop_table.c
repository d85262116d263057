// SPDX-License-Identifier: Apache-2.0
// A stop as a table of its parts, which follow each other.
#include "stop_table.h"

#include <stdio.h>
#include "json_field.h"

#define WORTH_TELLING_US 100

static const struct {
	const char *key, *text;
} rows[] = {
	[STOP_PAUSE] = {"pause_us", NULL},
	[STOP_DRAIN] = {"drain_us", "drain"},
	[STOP_ROUND] = {"round_us", "round"},
	[STOP_LAST_SCAN] = {"last_scan_us", "last scan"},
	[STOP_LAST_BYTES] = {"last_bytes_us", "last bytes"},
	[STOP_DEVICE_STATE] = {"device_state_us", "device state"},
	[STOP_VERIFY] = {"verify_us", "verify"},
	[STOP_CHECK] = {"check_us", "check"},
	[STOP_RECORD] = {"record_us", "record"},
	[STOP_NETWORK] = {"network_us", "network"},
	[STOP_RELEASE] = {"release_us", "release"},
	[STOP_LOAD] = {"load_us", "load"},
	[STOP_FINISH] = {"finish_us", "libvirt"},
};

_Static_assert(sizeof(rows) / sizeof(*rows) == STOP_PARTS, "one row for each part");

uint64_t stop_table_sum_us(const struct stop_table *t)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < STOP_PARTS; i++)
		if (i != STOP_PAUSE)
			sum += t->part[i];
	return sum;
}

void stop_table_put(json_object *o, const struct stop_table *t)
{
	for (unsigned int i = 0; i < STOP_PARTS; i++)
		json_put_number(o, rows[i].key, t->part[i]);
	json_put_number(o, "sum_us", stop_table_sum_us(t));
	json_put_number(o, "downtime_us", t->downtime_us);
	json_put_number(o, "predicted_us", t->predicted_us);
}

const char *stop_table_text(const struct stop_table *t, char text[STOP_TABLE_TEXT])
{
	int len = 0;

	text[0] = 0;
	for (unsigned int i = 0; i < STOP_PARTS; i++) {
		if (!rows[i].text || t->part[i] < WORTH_TELLING_US)
			continue;
		len += snprintf(text + len, STOP_TABLE_TEXT - (size_t)len, "%s%s %.1f",
				len ? ", " : "", rows[i].text, (double)t->part[i] / 1000);
	}
	return text;
}
