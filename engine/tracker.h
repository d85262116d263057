// SPDX-License-Identifier: Apache-2.0
// Dirty-page tracking of another process's RAM blocks by asynchronous userfaultfd write-protection.
//
// The kernel lifts the protection of a page on its first write, without waking anybody;
// PAGEMAP_SCAN reports the pages that are no longer protected and protects them again in one step
// (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst). A page never protected, or whose
// page-table entry the kernel dropped, is reported as written: errors are always on the side of
// sending too much.
//
// Different threads may collect at the same time.
#pragma once

#include "errtext.h"
#include "ram_map.h"
#include "wire.h"

struct tracker;

/* Pages in one collect at most; a multiple of every page size up to 4 MiB. */
#define TRACKER_GRANULE_PAGES 1024u
/* Runs that one collect of a granule can return: every other page. */
#define TRACKER_RUNS_MAX (TRACKER_GRANULE_PAGES / 2 + 1)

/* Register every block of `ram` (addresses in process pid) for write-protection. uffd becomes the
 * tracker's; closing it (tracker_destroy, or our death) removes every trace from the process.
 * `ram` must outlive the tracker. */
int tracker_new(int uffd, int pid, const struct ram_map *ram, struct tracker **out,
		struct errtext *err);
void tracker_destroy(struct tracker *t);

/* Pages written in [first, first + count) of a block since they were last protected, as runs in
 * ascending order, up to TRACKER_RUNS_MAX. With `protect` they are protected again in the same
 * step. Returns the number of runs or a negative errno (-ESRCH: the process has gone). count is at
 * most TRACKER_GRANULE_PAGES, or a whole huge page where that is larger. */
int tracker_collect(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		    bool protect, struct wire_run runs[TRACKER_RUNS_MAX]);

/* Pages that are protected, but not mapped: among them those that were punched since. The kernel
 * leaves the protection, as a marker, where the page was, so tracker_collect does not report them.
 * Otherwise like tracker_collect without `protect`; small pages only. */
int tracker_absent(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		   struct wire_run runs[TRACKER_RUNS_MAX]);

/* Memory private to the process, at which nobody has looked so far: protects all, and returns the
 * pages that may hold anything but zeroes. Of the others the next tracker_collect tells whatever is
 * written from now on. As tracker_collect otherwise. */
int tracker_first(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		  struct wire_run runs[TRACKER_RUNS_MAX]);
/* The same memory, later: pages that have been given back (MADV_DONTNEED), as far as
 * tracker_collect does not tell of them. Without protecting. */
int tracker_given_back(struct tracker *t, unsigned int block, uint64_t first, uint64_t count,
		       struct wire_run runs[TRACKER_RUNS_MAX]);

/* Does this kernel have what the tracker needs? 0 or -ENOTSUP with a text. */
int tracker_supported(struct errtext *err);
