// SPDX-License-Identifier: Apache-2.0
// The <memoryBacking> element that makes a guest ready.
#include "domain_backing.h"

#include <errno.h>
#include <string.h>
#include <libxml/tree.h>
#include "cleanup.h"
#include "domain_xml.h"
#include "domain_xml_private.h"

static xmlNode *child_or_new(xmlNode *node, const char *name)
{
	xmlNode *child = domain_xml_child(node, name);

	return child ? child : xmlNewChild(node, NULL, (const xmlChar *)name, NULL);
}

static void drop(xmlNode *node)
{
	if (!node)
		return;
	xmlUnlinkNode(node);
	xmlFreeNode(node);
}

/* Text between its elements is layout, and would be in the way of another. */
static void drop_blanks(xmlNode *node)
{
	for (xmlNode *child = node->children, *next; child; child = next) {
		next = child->next;
		if (xmlIsBlankNode(child))
			drop(child);
	}
}

static bool set(xmlNode *backing, const char *name, const char *attribute, const char *value)
{
	xmlNode *node = child_or_new(backing, name);

	return node && xmlSetProp(node, (const xmlChar *)attribute, (const xmlChar *)value);
}

/* Huge pages are files of their own, and a memfd is none that QEMU would leave out. */
static bool share(xmlNode *backing)
{
	drop_blanks(backing);
	for (xmlNode *child = backing->children; child; child = child->next)
		drop_blanks(child);
	if (!domain_xml_child(backing, "hugepages")) {
		if (!set(backing, "source", "type", "file"))
			return false;
	} else {
		drop(domain_xml_child(backing, "source"));
	}
	return set(backing, "access", "mode", "shared");
}

static char *text_of(xmlDoc *doc, xmlNode *node)
{
	xmlBuffer *buffer = xmlBufferCreate();
	char *text = NULL;

	if (buffer && xmlNodeDump(buffer, doc, node, 0, 1) >= 0)
		text = strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	return text;
}

char *domain_backing_for(const char *xml, struct errtext *err)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", err);
	xmlNode *backing;
	struct domain_facts facts;
	char *text = NULL;

	if (!doc || domain_xml_facts(xml, &facts, err) < 0)
		return NULL;
	if (facts.own_private) {
		errtext_set(err, -ENOTSUP,
			    "domain %s: %u of its NUMA cells or memory devices say by themselves "
			    "that they are private, which <memoryBacking> does not change: take "
			    "memAccess='private', or access='private', out of them (`virsh edit`)",
			    facts.name, facts.own_private);
		return NULL;
	}
	backing = child_or_new(xmlDocGetRootElement(doc), "memoryBacking");
	if (backing && share(backing))
		text = text_of(doc, backing);
	if (!text)
		errtext_set(err, -ENOMEM, "domain XML: out of memory");
	return text;
}
