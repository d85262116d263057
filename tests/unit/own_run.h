// SPDX-License-Identifier: Apache-2.0
// A /run of the test's own, so that records and locks touch nobody's.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

/* Each test is a process: its mounts go with it. */
static inline void own_run(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		cr_skip_test("cannot have a mount namespace (needs root): %s", strerror(errno));
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("none", "/run", "tmpfs", 0, NULL), 0);
}
