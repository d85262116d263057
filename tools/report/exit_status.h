// SPDX-License-Identifier: Apache-2.0
// How the dray command ends: a contract with whoever calls it (dray(8)).
#pragma once

enum exit_status {
	EXIT_COMPLETED = 0,
	EXIT_REFUSED = 1,  /* bad usage, or the guest cannot be migrated; nothing was touched */
	EXIT_FAILED = 2,   /* the guest is still on the source */
	EXIT_ABORTED = 3,  /* by time-out or cancel; the guest is still on the source */
	EXIT_OPERATOR = 4, /* the guest needs an operator */
};
