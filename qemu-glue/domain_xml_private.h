// SPDX-License-Identifier: Apache-2.0
// What those share that read a domain's XML: the parsed document.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include "errtext.h"

/* NULL with a text if it is no document with a root of this name. */
xmlDoc *domain_xml_parse(const char *xml, const char *root_name, struct errtext *err);
void domain_xml_free(xmlDoc **doc);

/* Is it an element of this name? */
bool domain_xml_is(const xmlNode *node, const char *name);
/* The first child element of this name; node may be NULL. */
xmlNode *domain_xml_child(const xmlNode *node, const char *name);
/* Value of an attribute, the caller's; NULL if there is none, or no memory. node may be NULL. */
char *domain_xml_attr(const xmlNode *node, const char *name);

/* As domain_xml_monitor_path. */
int domain_xml_find_monitor(const xmlDoc *doc, char *path, size_t size);
/* Remove dray's monitor, if it is word for word what domain_xml_for_destination would have put
 * there for this path. */
void domain_xml_remove_exactly(xmlDoc *doc, const char *monitor_path);
