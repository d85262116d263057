// SPDX-License-Identifier: Apache-2.0
// What domain_xml.c and domain_facts.c share: the parsed document.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include "errtext.h"

/* NULL with a text if it is no <domain>. */
xmlDoc *domain_xml_parse(const char *xml, struct errtext *err);
void domain_xml_free(xmlDoc **doc);

/* Is it an element of this name? */
bool domain_xml_is(const xmlNode *node, const char *name);
/* The first child element of this name; node may be NULL. */
xmlNode *domain_xml_child(const xmlNode *node, const char *name);
/* Value of an attribute, the caller's; NULL if there is none, or no memory. node may be NULL. */
char *domain_xml_attr(const xmlNode *node, const char *name);

/* As domain_xml_monitor_path. */
int domain_xml_find_monitor(const xmlDoc *doc, char *path, size_t size);
