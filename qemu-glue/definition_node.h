// SPDX-License-Identifier: Apache-2.0
// Questions about an element of a definition.
#pragma once

#include <string.h>
#include "cleanup.h"
#include "domain_xml_private.h"

/* NULL: any. */
static inline bool definition_node_is(const xmlNode *node, const char *name)
{
	return !name || (node && node->type == XML_ELEMENT_NODE && domain_xml_is(node, name));
}

/* NULL: any but the empty one. */
static inline bool definition_node_has(const xmlNode *node, const char *attribute,
				       const char *value)
{
	_cleanup_free_ char *found = domain_xml_attr(node, attribute);

	if (!value)
		return found && *found;
	return found && strcmp(found, value) == 0;
}
