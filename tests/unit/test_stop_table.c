// SPDX-License-Identifier: Apache-2.0
// A stop as a table of its parts.
#include "stop_table.h"

#include <criterion/criterion.h>
#include <string.h>

static struct stop_table full(void)
{
	struct stop_table t = {.predicted_us = 900, .downtime_us = 800};

	for (unsigned int i = 0; i < STOP_PARTS; i++)
		t.part[i] = 1u << i;
	return t;
}

/* The guest still runs in the pause. */
Test(stop_table, sums_up_what_the_guest_stood_still_for)
{
	struct stop_table t = full();

	cr_assert_eq(stop_table_sum_us(&t), (1u << STOP_PARTS) - 2);
}

Test(stop_table, every_part_is_a_member)
{
	struct stop_table t = full();
	json_object *o = json_object_new_object(), *member;

	stop_table_put(o, &t);
	cr_assert_eq(json_object_object_length(o), STOP_PARTS + 3);
	cr_assert(json_object_object_get_ex(o, "pause_us", &member));
	cr_assert_eq(json_object_get_int64(member), 1);
	cr_assert(json_object_object_get_ex(o, "finish_us", &member));
	cr_assert_eq(json_object_get_int64(member), 1 << STOP_FINISH);
	cr_assert(json_object_object_get_ex(o, "predicted_us", &member));
	cr_assert_eq(json_object_get_int64(member), 900);
	json_object_put(o);
}

Test(stop_table, text_leaves_out_what_took_no_time)
{
	struct stop_table t = {.part = {[STOP_PAUSE] = 9000,
					[STOP_DRAIN] = 99,
					[STOP_LAST_SCAN] = 1250,
					[STOP_FINISH] = 2100}};
	char text[STOP_TABLE_TEXT];

	cr_assert_str_eq(stop_table_text(&t, text), "last scan 1.2, libvirt 2.1");
}

Test(stop_table, the_longest_text_fits)
{
	struct stop_table t;
	char text[STOP_TABLE_TEXT];

	for (unsigned int i = 0; i < STOP_PARTS; i++)
		t.part[i] = 9999999999;
	cr_assert_lt(strlen(stop_table_text(&t, text)), STOP_TABLE_TEXT - 1);
	cr_assert(strstr(text, "libvirt 10000000.0"), "%s", text);
}
