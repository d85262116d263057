// SPDX-License-Identifier: Apache-2.0
// Named failure points, so that tests can break a migration at an exact place.
//
// The environment variable DRAY_FAULT holds POINT=ACTION[,POINT=ACTION...]:
//   kill   the process ends at once, as by kill -9
//   stop   the whole process stops (SIGSTOP) until it gets SIGCONT; a test meanwhile does
//          whatever it wants to happen at that point
//   fail   the call returns -EIO and the caller fails as if the step had
// A point named twice does both, in order: a=stop,a=fail stops at a, then fails there.
// Without the variable a point costs one getenv. Points are passed a few times per migration,
// never per page.
#pragma once

/* Returns 0, or -EIO for `fail`. Unknown actions, anywhere in the variable, abort with a message
 * on standard error: a test with a spelling mistake must not pass. Any thread. */
int failure_point(const char *point);
