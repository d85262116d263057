// SPDX-License-Identifier: Apache-2.0
// Where paths stand in a definition, and what libvirt does with each.
//
// Stateless; any thread.
#pragma once

#include <libxml/tree.h>
#include <stdbool.h>
#include "definition_path.h"

/* What the path in this attribute is for, or that in the element's own text (NULL). False: no path
 * is known to stand there. */
bool definition_place_find(const xmlNode *node, const char *attribute, enum definition_use *use);
