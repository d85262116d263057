// SPDX-License-Identifier: Apache-2.0
// A userfaultfd for the memory of the bench program itself.
#pragma once

/* One that tracks writes (tracker.h), close-on-exec and the caller's. Where there is none the
 * program says so, and ends. */
int bench_tracking_fd(void);
