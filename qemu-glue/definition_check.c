// SPDX-License-Identifier: Apache-2.0
// A walk over a definition: each path by its place in it, each element that reaches for the host.
#include "definition_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "definition_label.h"
#include "definition_node.h"
#include "definition_path.h"
#include "definition_place.h"
#include "domain_xml_private.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

/* ---- what reaches for the host ---- */

struct forbidden {
	const char *parent, *element;
	const char *attribute, *value; /* only with this value, NULL: with any; NULL: always */
	unsigned int agreed;	       /* unless; 0: nobody can agree to it */
	const char *what;
};

static const struct forbidden forbidden[] = {
	{"devices", "hostdev", NULL, NULL, DEFINITION_HOST_DEVICES, "a device of the host's"},
	{"devices", "interface", "type", "hostdev", DEFINITION_HOST_DEVICES,
	 "a network device of the host's"},
	{"devices", "interface", "type", "vdpa", DEFINITION_HOST_DEVICES,
	 "a network device of the host's"},
	{"devices", "input", "type", "evdev", DEFINITION_HOST_DEVICES,
	 "an input device of the host's"},
	{"devices", "input", "type", "passthrough", DEFINITION_HOST_DEVICES,
	 "an input device of the host's"},
	{"tpm", "backend", "type", "passthrough", DEFINITION_HOST_DEVICES, "the host's TPM"},
	{NULL, NULL, "type", "nvme", DEFINITION_HOST_DEVICES, "an NVMe controller of the host's"},
	{"devices", "disk", "rawio", "yes", DEFINITION_HOST_DEVICES, "raw access to a device"},
	{"devices", "disk", "sgio", "unfiltered", DEFINITION_HOST_DEVICES,
	 "raw access to a device"},
	{"devices", "smartcard", "mode", "host", DEFINITION_HOST_DEVICES,
	 "a smart card of the host's"},
	{"devices", "smartcard", "mode", "host-certificates", DEFINITION_HOST_DEVICES,
	 "certificates of the host's"},
	{"source", "ip", NULL, NULL, DEFINITION_HOST_DEVICES, "an address of the host's"},
	{"source", "route", NULL, NULL, DEFINITION_HOST_DEVICES, "a route of the host's"},
	{"devices", "filesystem", NULL, NULL, DEFINITION_FILE_SYSTEMS, "a directory of the host's"},
	{"devices", "shmem", NULL, NULL, DEFINITION_FILE_SYSTEMS, "memory that others share"},
	{"interface", "script", "path", NULL, 0, "a script that the host would run"},
	{"interface", "downscript", "path", NULL, 0, "a script that the host would run"},
	{NULL, "baselabel", NULL, NULL, 0, "a security label of its own choice"},
	{"domain", "seclabel", "type", "none", 0, "no confinement of its QEMU"},
};

static const char *const agreements[] = {"qemu-arguments", "host-devices", "file-systems"};

unsigned int definition_agreed(const char *name)
{
	for (size_t i = 0; i < sizeof(agreements) / sizeof(agreements[0]); i++)
		if (!strcmp(agreements[i], name))
			return 1u << i;
	return 0;
}

/* ---- the walk ---- */

struct walk {
	const struct definition_policy *policy;
	struct errtext *err;
};

static int refuse(const struct walk *w, unsigned int agreed, const char *what)
{
	char how[96] = "";

	for (size_t i = 0; i < sizeof(agreements) / sizeof(agreements[0]); i++)
		if (agreed & 1u << i)
			snprintf(how, sizeof(how), "; `dray receive --allow %s` agrees to it",
				 agreements[i]);
	return errtext_set(w->err, -EPERM,
			   "the destination does not take domain %s: its definition asks for "
			   "%s%s",
			   w->policy->name, what, how);
}

static int check_forbidden(const struct walk *w, const xmlNode *node)
{
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		const struct forbidden *f = &forbidden[i];

		if (!definition_node_is(node, f->element) ||
		    !definition_node_is(node->parent, f->parent))
			continue;
		if (f->attribute && !definition_node_has(node, f->attribute, f->value))
			continue;
		if (!(w->policy->agreed & f->agreed))
			return refuse(w, f->agreed, f->what);
	}
	return 0;
}

static int check_value(const struct walk *w, const xmlNode *node, const char *attribute,
		       const char *value)
{
	enum definition_use use;
	bool known = definition_place_find(node, attribute, &use);
	struct errtext why = {0};
	int ret = 0;

	if (w->policy->contained || !*value || (!known && value[0] != '/'))
		return 0;
	if (known)
		ret = definition_path_check(value, use, w->policy->paths, &why);
	else
		ret = errtext_set(&why, -EPERM,
				  "%s stands where dray knows of no path, and no --allow "
				  "makes it take one there",
				  value);
	return ret < 0 ? errtext_set(w->err, ret,
				     "the destination does not take domain %s: in its definition, "
				     "<%s%s%s>: %s",
				     w->policy->name, (const char *)node->name,
				     attribute ? " " : "", attribute ? attribute : "", why.text)
		       : 0;
}

static int check_attributes(const struct walk *w, const xmlNode *node)
{
	int ret = 0;

	for (const xmlAttr *a = node->properties; ret == 0 && a; a = a->next) {
		xmlChar *value = xmlNodeListGetString(node->doc, a->children, 1);

		if (value)
			ret = check_value(w, node, (const char *)a->name, (const char *)value);
		xmlFree(value);
	}
	return ret;
}

/* libvirt takes all the text within an element, that of its children too. Where no path is known,
 * each piece of the element's own is looked at. */
static int check_text(const struct walk *w, const xmlNode *node)
{
	enum definition_use use;
	bool known = definition_place_find(node, NULL, &use);
	int ret = 0;

	for (const xmlNode *child = known ? node : node->children; ret == 0 && child;
	     child = known ? NULL : child->next) {
		xmlChar *text = known || child->type == XML_TEXT_NODE ||
						child->type == XML_CDATA_SECTION_NODE
					? xmlNodeGetContent(child)
					: NULL;

		if (text)
			ret = check_value(w, node, NULL, (const char *)text);
		xmlFree(text);
	}
	return ret;
}

/* libvirt labels QEMU as its own user by itself; a guest may say so, and nothing else. */
static int check_label(const struct walk *w, const xmlNode *node)
{
	const xmlNode *label = domain_xml_child(node, "label");
	xmlChar *text = label ? xmlNodeGetContent(label) : NULL;
	bool is_dac = definition_node_has(node, "model", "dac");
	bool bad = definition_node_has(node, "type", "static") && !is_dac;

	bad |= is_dac && text &&
	       !definition_label_is((const char *)text, w->policy->uid, w->policy->gid);
	xmlFree(text);
	return bad ? refuse(w, 0, "a security label of its own choice") : 0;
}

/* What a pool's volume is, libvirt alone knows. */
static int check_pool(const struct walk *w, const xmlNode *node)
{
	if (!w->policy->paths || !definition_node_is(node, "disk") ||
	    !definition_node_has(node, "type", "volume"))
		return 0;
	return refuse(w, 0,
		      "a storage pool's volume, which may be anywhere, and --allow-path is set");
}

static bool is_of_qemu(const xmlNode *node)
{
	return node->ns && !strcmp((const char *)node->ns->href, QEMU_NAMESPACE);
}

/* dray's own monitor has been taken out already. */
static int check_qemu(const struct walk *w, const xmlNode *node)
{
	if (domain_xml_is(node, "deprecation") || (w->policy->agreed & DEFINITION_QEMU_ARGUMENTS))
		return 0;
	return refuse(w, DEFINITION_QEMU_ARGUMENTS, "arguments of QEMU's own");
}

/* libvirt takes the first attribute of a name, whatever its namespace, but most elements only
 * without one. It writes neither, and here it must be certain what it will read. */
static int check_namespaces(const struct walk *w, const xmlNode *node)
{
	bool foreign = node->ns;

	for (const xmlAttr *a = node->properties; a; a = a->next)
		foreign |= a->ns != NULL;
	return foreign ? refuse(w, 0, "names of another namespace") : 0;
}

static int check_element(const struct walk *w, const xmlNode *node)
{
	int ret = check_namespaces(w, node);

	if (ret == 0)
		ret = check_forbidden(w, node);
	if (ret == 0)
		ret = check_pool(w, node);
	if (ret == 0 && domain_xml_is(node, "seclabel") &&
	    definition_node_is(node->parent, "domain"))
		ret = check_label(w, node);
	if (ret == 0)
		ret = check_attributes(w, node);
	if (ret == 0)
		ret = check_text(w, node);
	return ret;
}

/* The next element in the document's order: into `node`, or past it; NULL after the last one
 * beneath `top`. */
static const xmlNode *next_element(const xmlNode *node, const xmlNode *top, bool into)
{
	const xmlNode *next = into ? node->children : NULL;

	for (;;) {
		while (next && next->type != XML_ELEMENT_NODE)
			next = next->next;
		if (next || node == top)
			return next;
		next = node->next;
		node = node->parent;
	}
}

static int check_all(const struct walk *w, const xmlNode *domain)
{
	const xmlNode *node = domain;
	int ret = 0;

	while (ret == 0 && node) {
		bool into = true;

		if (is_of_qemu(node)) {
			ret = check_qemu(w, node);
			into = false;
		} else if (!node->ns && domain_xml_is(node, "metadata") && node->parent == domain) {
			into = false; /* nobody's but the user's */
		} else {
			ret = check_element(w, node);
		}
		node = next_element(node, domain, into);
	}
	return ret;
}

/* ---- the guest ---- */

static bool text_is(const xmlNode *node, const char *name, const char *wanted)
{
	xmlNode *child = domain_xml_child(node, name);
	xmlChar *text = child ? xmlNodeGetContent(child) : NULL;
	bool same = text && strcmp((const char *)text, wanted) == 0;

	xmlFree(text);
	return same;
}

static int check_domain(const struct walk *w, const xmlNode *domain)
{
	const struct definition_policy *p = w->policy;

	if (!text_is(domain, "uuid", p->uuid) || !text_is(domain, "name", p->name))
		return errtext_set(w->err, -EPERM,
				   "the destination does not take domain %s: libvirt was asked to "
				   "start another guest than %s (%s)",
				   p->name, p->name, p->uuid);
	if (!definition_node_has(domain, "type", "kvm") &&
	    !definition_node_has(domain, "type", "qemu"))
		return refuse(w, 0, "something else than QEMU");
	return check_all(w, domain);
}

int definition_check(const char *xml, const struct definition_policy *policy, struct errtext *err)
{
	const struct walk w = {policy, err};
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", err);

	if (!doc)
		return -EINVAL;
	if (policy->monitor_path)
		domain_xml_remove_exactly(doc, policy->monitor_path);
	return check_domain(&w, xmlDocGetRootElement(doc));
}

int definition_check_cookie(const char *cookie, const struct definition_policy *policy,
			    struct errtext *err)
{
	const struct walk w = {policy, err};
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(cookie, "qemu-migration", err);
	const xmlNode *domain = doc ? domain_xml_child(xmlDocGetRootElement(doc), "domain") : NULL;
	int ret = doc ? 0 : -EINVAL;

	for (; ret == 0 && domain; domain = domain->next)
		if (definition_node_is(domain, "domain"))
			ret = check_domain(&w, domain);
	return ret;
}
