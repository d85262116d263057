// SPDX-License-Identifier: Apache-2.0
// The list of conditions.
#include "conditions.h"

#include <criterion/criterion.h>
#include <string.h>

Test(conditions, keeps_order_and_text)
{
	struct conditions c = {0};

	cr_assert_null(conditions_first(&c, NULL, CONDITION_FALSE));
	conditions_add(&c, "A", CONDITION_UNKNOWN, "R1", "%s %d", "one", 1);
	conditions_add(&c, "B", CONDITION_FALSE, "R2", "two");
	conditions_add(&c, "A", CONDITION_FALSE, "R3", "three");
	conditions_add(&c, "A", CONDITION_FALSE, "R4", "four");
	cr_assert_eq(c.count, 4);
	cr_assert_not(c.incomplete);
	cr_assert_str_eq(c.list[0].message, "one 1");
	cr_assert_str_eq(conditions_first(&c, NULL, CONDITION_FALSE)->reason, "R2");
	cr_assert_str_eq(conditions_first(&c, "A", CONDITION_FALSE)->reason, "R3");
	cr_assert_null(conditions_first(&c, "B", CONDITION_TRUE));
	cr_assert_eq(conditions_count(&c, NULL, CONDITION_FALSE), 3);
	cr_assert_eq(conditions_count(&c, "A", CONDITION_FALSE), 2);
	cr_assert(conditions_have_type(&c, "B"));
	cr_assert_not(conditions_have_type(&c, "C"));
	conditions_destroy(&c);
	cr_assert_eq(c.count, 0);
}

Test(conditions, a_long_message_is_whole)
{
	struct conditions c = {0};
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	conditions_add(&c, "A", CONDITION_TRUE, "R", "%s", text);
	cr_assert_str_eq(c.list[0].message, text);
	conditions_destroy(&c);
}

Test(conditions, status_names)
{
	cr_assert_str_eq(condition_status_name(CONDITION_TRUE), "True");
	cr_assert_str_eq(condition_status_name(CONDITION_FALSE), "False");
	cr_assert_str_eq(condition_status_name(CONDITION_UNKNOWN), "Unknown");
}
