// SPDX-License-Identifier: Apache-2.0
// Error texts: filled once, bounded, optional.
#include "errtext.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(errtext, formats_and_returns_the_code)
{
	struct errtext e = {0};

	cr_assert_eq(errtext_set(&e, -ENOENT, "guest '%s' has %d disks", "vm", 2), -ENOENT);
	cr_assert_str_eq(e.text, "guest 'vm' has 2 disks");
}

Test(errtext, keeps_the_first_text)
{
	struct errtext e = {0};

	errtext_set(&e, -ENOENT, "first");
	cr_assert_eq(errtext_set(&e, -EIO, "second"), -EIO,
		     "the code is the latest one all the same");
	cr_assert_str_eq(e.text, "first");
}

Test(errtext, an_empty_text_does_not_count)
{
	struct errtext e = {0};

	errtext_set(&e, -EIO, "%s", "");
	errtext_set(&e, -EIO, "text");
	cr_assert_str_eq(e.text, "text");
}

Test(errtext, may_be_absent)
{
	cr_assert_eq(errtext_set(NULL, -EINVAL, "nobody reads %s", "this"), -EINVAL);
}

Test(errtext, cuts_what_does_not_fit)
{
	struct errtext e = {0};
	char text[2 * ERRTEXT_SIZE];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	errtext_set(&e, -EIO, "%s", text);
	cr_assert_eq(strlen(e.text), ERRTEXT_SIZE - 1);
}

Test(errtext, what_others_say_is_made_printable)
{
	char text[] = "caf\xc3\xa9\n\x1b[2Jgone\x7f \xc2\x9b"
		      "31m\t\xc2\xa0.";

	errtext_make_printable(text);
	cr_assert_str_eq(text, "caf\xc3\xa9 ?[2Jgone? ??31m?\xc2\xa0.");
}
