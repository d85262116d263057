// SPDX-License-Identifier: Apache-2.0
// Directories that dray makes for itself.
#pragma once

#include <sys/types.h>
#include "errtext.h"

/* Make path with exactly this mode, whatever the umask; one that is there stays as it is. Missing
 * parents get 0711: others may pass through, to what belongs to them, but not look around. Any
 * thread; two makers at once are fine. -ENAMETOOLONG, or what mkdir(2) says, with a text. */
int directory_make(const char *path, mode_t mode, struct errtext *err);
