// SPDX-License-Identifier: Apache-2.0
// What a domain's XML has to say of its memory so that the guest is ready for the direct lane from
// its start.
//
// Stateless; any thread.
#pragma once

#include "errtext.h"

/* The <memoryBacking> element for this domain: its own, with shared access, and files unless it has
 * huge pages. The caller frees it. NULL on failure, with a text. */
char *domain_backing_for(const char *xml, struct errtext *err);
