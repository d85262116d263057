// SPDX-License-Identifier: Apache-2.0
// How the kernel schedules the threads of post-copy.
//
// A vCPU waits for each fault: the few microseconds of work that serve it must not queue behind
// time slices of other vCPUs, of which a busy host always has some. The push is the opposite: any
// CPU will do, as long as somebody else has no use for it.
#pragma once

/* The calling thread, and none that it starts, serves faults: it runs as soon as it can. Real-time,
 * lowest priority; where a cgroup has no budget for that, the best of the ordinary ones. */
void scheduling_urgent(void);
/* The calling thread works in the background: whoever wakes up goes first. */
void scheduling_background(void);
