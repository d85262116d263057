// SPDX-License-Identifier: Apache-2.0
// Every state of a domain, every question, and every fact that the answer depends on.
#include "ownership_table.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

TestSuite(ownership_table, .timeout = 10);

#define UNTOLD WIRE_STATE_UNKNOWN

struct state_row {
	enum domain_state state;
	enum ownership_departure kept, released;
	enum ownership_arrival arrival;
	enum ownership_retirement retirement;
	/* prepared, released, never ran, ran; the same with a migration out of here recorded */
	enum wire_state answers[2][EVIDENCE_END_];
};

#define ALL(x)                                                                                     \
	{                                                                                          \
		{x, x, x, x},                                                                      \
		{                                                                                  \
			x, x, x, x                                                                 \
		}                                                                                  \
	}
#define ABSENT WIRE_STATE_ABSENT
#define ENDED WIRE_STATE_ENDED
#define RUNNING WIRE_STATE_RUNNING
#define INCOMING WIRE_STATE_INCOMING

ParameterizedTestParameters(ownership_table, states)
{
	static struct state_row rows[] = {
		{DOMAIN_ABSENT,
		 DEPARTURE_LEFT,
		 DEPARTURE_LEFT,
		 ARRIVAL_NONE,
		 RETIRE_NOTHING,
		 {{ABSENT, UNTOLD, ABSENT, ENDED}, {ABSENT, UNTOLD, ABSENT, ENDED}}},
		{DOMAIN_SHUT_OFF,
		 DEPARTURE_LEFT,
		 DEPARTURE_LEFT,
		 ARRIVAL_NONE,
		 RETIRE_DEFINITION,
		 {{UNTOLD, UNTOLD, ABSENT, ENDED}, {UNTOLD, UNTOLD, ABSENT, ENDED}}},
		{DOMAIN_RUNNING, DEPARTURE_STAYED, DEPARTURE_STAYED, ARRIVAL_LIVES, RETIRE_TWICE,
		 ALL(RUNNING)},
		{DOMAIN_PAUSED_USER, DEPARTURE_STAYED, DEPARTURE_ASK, ARRIVAL_LIVES, RETIRE_GUEST,
		 ALL(RUNNING)},
		{DOMAIN_PAUSED_MIGRATION,
		 DEPARTURE_RESUME,
		 DEPARTURE_ASK,
		 ARRIVAL_PENDING,
		 RETIRE_GUEST,
		 {{INCOMING, INCOMING, INCOMING, INCOMING}, {RUNNING, RUNNING, RUNNING, RUNNING}}},
		{DOMAIN_INCOMING, DEPARTURE_WAIT, DEPARTURE_WAIT, ARRIVAL_PENDING, RETIRE_FOREIGN,
		 ALL(INCOMING)},
		{DOMAIN_PAUSED_POSTCOPY, DEPARTURE_FOREIGN, DEPARTURE_FOREIGN, ARRIVAL_LIVES,
		 RETIRE_FOREIGN, ALL(RUNNING)},
	};

	_Static_assert(sizeof(rows) / sizeof(*rows) == DOMAIN_STATE_END_, "each state is listed");
	return cr_make_param_array(struct state_row, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct state_row *row, ownership_table, states)
{
	const char *text = ownership_table_text(row->state);

	cr_assert(text && text[0], "state %d", row->state);
	cr_expect_eq(ownership_table_departure(row->state, false), row->kept, "%s", text);
	cr_expect_eq(ownership_table_departure(row->state, true), row->released, "%s", text);
	cr_expect_eq(ownership_table_arrival(row->state), row->arrival, "%s", text);
	cr_expect_eq(ownership_table_retirement(row->state), row->retirement, "%s", text);
	for (int leaving = 0; leaving < 2; leaving++) {
		for (int e = 0; e < EVIDENCE_END_; e++) {
			enum wire_state answer = WIRE_STATE_END_;
			bool told = ownership_table_answer(row->state, e, leaving, &answer);

			cr_expect_eq(told, row->answers[leaving][e] != UNTOLD, "%s, %d", text, e);
			cr_expect_eq(answer, row->answers[leaving][e], "%s, %d", text, e);
		}
	}
}

/* What must hold whatever the rows say. */
Test(ownership_table, rows_do_not_contradict_each_other)
{
	for (int s = 0; s < DOMAIN_STATE_END_; s++) {
		const char *text = ownership_table_text(s);
		enum ownership_arrival arrival = ownership_table_arrival(s);
		enum ownership_retirement retirement = ownership_table_retirement(s);

		for (int e = 0; e < EVIDENCE_END_; e++) {
			enum wire_state answer;

			if (!ownership_table_answer(s, e, false, &answer))
				continue;
			cr_expect_eq(answer == WIRE_STATE_RUNNING, arrival == ARRIVAL_LIVES, "%s",
				     text);
			cr_expect_eq(answer == WIRE_STATE_INCOMING, arrival == ARRIVAL_PENDING,
				     "%s", text);
			cr_expect(answer != WIRE_STATE_ABSENT || e != EVIDENCE_RAN, "%s", text);
			cr_expect(answer != WIRE_STATE_ENDED || e == EVIDENCE_RAN, "%s", text);
		}
		/* Nothing that was handed over is resumed without asking. */
		cr_expect_neq(ownership_table_departure(s, true), DEPARTURE_RESUME, "%s", text);
		/* What is removed is what one may have to ask about, and nothing else. */
		cr_expect_eq(retirement == RETIRE_GUEST,
			     ownership_table_departure(s, true) == DEPARTURE_ASK, "%s", text);
	}
}
