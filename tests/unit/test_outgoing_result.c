// SPDX-License-Identifier: Apache-2.0
// Exit status and words of each end, and what is worth another attempt.
#include "outgoing_result.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(outgoing_result, .timeout = 20);

Test(outgoing_result, each_end_has_its_status_and_its_word)
{
	static const struct {
		enum phase phase;
		bool for_operator;
		enum exit_status status;
		const char *word;
	} rows[] = {
		{PHASE_COMPLETED, false, EXIT_COMPLETED, "completed"},
		{PHASE_COMPLETED, true, EXIT_OPERATOR, "lost"}, /* it runs, and must not */
		{PHASE_ABORTED, false, EXIT_ABORTED, "aborted"},
		{PHASE_FAILED, false, EXIT_FAILED, "failed"},
		{PHASE_ABORTED, true, EXIT_OPERATOR, "lost"}, /* it stays, and stands still */
		{PHASE_FAILED, true, EXIT_OPERATOR, "lost"},
		{PHASE_LOST, false, EXIT_OPERATOR, "lost"},
		{PHASE_LOST, true, EXIT_OPERATOR, "lost"},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		cr_expect_eq(outgoing_result_status(rows[i].phase, rows[i].for_operator),
			     rows[i].status, "%s", phase_name(rows[i].phase));
		cr_expect_str_eq(outgoing_result_word(rows[i].phase, rows[i].for_operator),
				 rows[i].word);
	}
}

Test(outgoing_result, what_may_pass)
{
	static const int passing[] = {ECONNREFUSED, ECONNRESET, EHOSTUNREACH,
				      ENETUNREACH,  ETIMEDOUT,	ECONNABORTED,
				      ENODATA,	    EPIPE,	EAGAIN};
	static const int staying[] = {EINVAL, ENOENT, EPROTO, ENOTSUP, EACCES, EBUSY, ENOMEM};

	for (unsigned int i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		cr_expect(outgoing_result_is_passing(-passing[i]), "%s", strerror(passing[i]));
	for (unsigned int i = 0; i < sizeof(staying) / sizeof(*staying); i++)
		cr_expect_not(outgoing_result_is_passing(-staying[i]), "%s", strerror(staying[i]));
}
