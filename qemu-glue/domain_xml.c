// SPDX-License-Identifier: Apache-2.0
// Adding dray's private monitor to a domain's XML, and finding and removing it.
//
// libvirt passes the arguments in <qemu:commandline> on to QEMU as they are, one <qemu:arg> each:
//
//   <qemu:commandline>
//     <qemu:arg value='-chardev'/>
//     <qemu:arg value='socket,id=draymon,path=/run/...,server=on,wait=off,logfile=...'/>
//     <qemu:arg value='-mon'/>
//     <qemu:arg value='chardev=draymon,mode=control,id=draymon'/>
//   </qemu:commandline>
//
// Ours are known by the id. They are removed in pairs, option and value; everything else in there
// belongs to the user and stays. QEMU 11.1 and newer make an object of the monitor, of that id.
// QEMU's option syntax writes a comma inside a value as two. What the log is for: monitor_log.h.
#include "domain_xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <libxml/xmlsave.h>
#include "cleanup.h"
#include "domain_xml_private.h"
#include "monitor_log.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"
#define MON_VALUE "chardev=" MONITOR_LOG_ID ",mode=control,id=" MONITOR_LOG_ID
#define MONITOR_VALUE_MAX (4 * sizeof(((struct sockaddr_un *)0)->sun_path) + 256)

/* ---- the document ---- */

void domain_xml_free(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}

xmlDoc *domain_xml_parse(const char *xml, const char *root_name, struct errtext *err)
{
	size_t len = strlen(xml);
	xmlParserCtxt *context = len > DOMAIN_XML_MAX ? NULL : xmlNewParserCtxt();
	xmlDoc *doc = NULL;
	xmlNode *root;

	if (context)
		doc = xmlCtxtReadMemory(context, xml, (int)len, "domain.xml", NULL,
					XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	root = doc ? xmlDocGetRootElement(doc) : NULL;
	/* An undeclared prefix would come to life once we declare ours. libvirt never writes a DTD,
	 * and entities are a way to make small texts large. */
	if (!root || !context->nsWellFormed || xmlGetIntSubset(doc) ||
	    strcmp((const char *)root->name, root_name) != 0) {
		const xmlError *error = context ? xmlCtxtGetLastError(context) : NULL;
		const char *why = error && error->message ? error->message : "it has another root";

		errtext_set(err, -EINVAL, "not a libvirt %s XML: %.*s", root_name,
			    (int)strcspn(why, "\n"), why);
		xmlFreeDoc(doc);
		doc = NULL;
	}
	xmlFreeParserCtxt(context);
	return doc;
}

bool domain_xml_is(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && !strcmp((const char *)node->name, name);
}

xmlNode *domain_xml_child(const xmlNode *node, const char *name)
{
	for (xmlNode *child = node ? node->children : NULL; child; child = child->next) {
		if (domain_xml_is(child, name))
			return child;
	}
	return NULL;
}

static char *save(xmlDoc *doc, struct errtext *err)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *context =
		buffer ? xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_NO_DECL | XML_SAVE_AS_XML)
		       : NULL;
	char *text = NULL;
	bool saved = context && xmlSaveDoc(context, doc) >= 0;

	saved = context && xmlSaveClose(context) >= 0 && saved;
	if (saved)
		text = strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	if (!text)
		errtext_set(err, -ENOMEM, "domain XML: out of memory");
	return text;
}

/* ---- <qemu:commandline> ---- */

static bool is_qemu(const xmlNode *node, const char *name)
{
	return domain_xml_is(node, name) && node->ns &&
	       !strcmp((const char *)node->ns->href, QEMU_NAMESPACE);
}

static xmlNode *next_arg(xmlNode *node)
{
	while (node && !is_qemu(node, "arg"))
		node = node->next;
	return node;
}

/* The first, or next after `node`, <qemu:commandline> of the domain. */
static xmlNode *next_commandline(const xmlDoc *doc, const xmlNode *node)
{
	xmlNode *next = node ? node->next : xmlDocGetRootElement(doc)->children;

	while (next && !is_qemu(next, "commandline"))
		next = next->next;
	return next;
}

/* Value of `key` in QEMU's "a,key=value,b=c"; the first item may be a bare word. -ENOENT,
 * -ENAMETOOLONG. */
static int option_get(const char *options, const char *key, char *value, size_t size)
{
	size_t key_len = strlen(key), len = 0;

	for (const char *p = options; *p;) {
		bool wanted = !strncmp(p, key, key_len) && p[key_len] == '=';

		if (wanted)
			p += key_len + 1;
		for (; *p && (*p != ',' || p[1] == ','); p++) {
			p += *p == ',';
			if (!wanted)
				continue;
			if (len + 1 >= size)
				return -ENAMETOOLONG;
			value[len++] = *p;
		}
		if (wanted) {
			value[len] = '\0';
			return 0;
		}
		p += *p == ',';
	}
	return -ENOENT;
}

static bool option_is(const char *options, const char *key, const char *value)
{
	char found[64];

	return option_get(options, key, found, sizeof(found)) == 0 && !strcmp(found, value);
}

/* Is `option` followed by an argument of our monitor's? Gives that argument. */
static xmlNode *monitor_value(xmlNode *option)
{
	_cleanup_free_ char *name = domain_xml_attr(option, "value");
	xmlNode *value = next_arg(option->next);
	_cleanup_free_ char *options = value ? domain_xml_attr(value, "value") : NULL;

	if (!name || !options)
		return NULL;
	if (!strcmp(name, "-chardev") && option_is(options, "id", MONITOR_LOG_ID))
		return value;
	if (!strcmp(name, "-mon") && option_is(options, "chardev", MONITOR_LOG_ID))
		return value;
	return NULL;
}

static void drop(xmlNode *node)
{
	xmlNode *indent = node->prev;

	if (indent && xmlIsBlankNode(indent)) {
		xmlUnlinkNode(indent);
		xmlFreeNode(indent);
	}
	xmlUnlinkNode(node);
	xmlFreeNode(node);
}

static bool is_empty(const xmlNode *node)
{
	for (const xmlNode *child = node->children; child; child = child->next) {
		if (!xmlIsBlankNode(child))
			return false;
	}
	return true;
}

static xmlNode *previous_arg(xmlNode *node)
{
	do
		node = node->prev;
	while (node && !is_qemu(node, "arg"));
	return node;
}

static void remove_from(xmlNode *commandline)
{
	xmlNode *arg = next_arg(commandline->children);
	bool removed = false;

	while (arg) {
		xmlNode *value = monitor_value(arg), *before;

		if (!value) {
			arg = next_arg(arg->next);
			continue;
		}
		/* Its predecessor has another successor now, and with it may be a pair. */
		before = previous_arg(arg);
		drop(value);
		drop(arg);
		removed = true;
		arg = before ? before : next_arg(commandline->children);
	}
	if (removed && is_empty(commandline))
		drop(commandline);
}

static void remove_monitor(xmlDoc *doc)
{
	xmlNode *commandline = next_commandline(doc, NULL);

	while (commandline) {
		xmlNode *next = next_commandline(doc, commandline);

		remove_from(commandline);
		commandline = next;
	}
}

static bool has_prefix(const xmlNs *ns)
{
	return ns && ns->prefix;
}

/* The namespace, declared at the root under some prefix: "qemu" unless that means something else.
 */
static xmlNs *qemu_namespace(xmlDoc *doc)
{
	xmlNode *root = xmlDocGetRootElement(doc);
	xmlNs *ns = xmlSearchNsByHref(doc, root, (const xmlChar *)QEMU_NAMESPACE);

	if (!has_prefix(ns))
		ns = xmlNewNs(root, (const xmlChar *)QEMU_NAMESPACE, (const xmlChar *)"qemu");
	if (!ns)
		ns = xmlNewNs(root, (const xmlChar *)QEMU_NAMESPACE, (const xmlChar *)"drayqemu");
	return ns;
}

static int add_arg(xmlNode *commandline, xmlNs *ns, const char *value)
{
	xmlNode *arg = xmlNewChild(commandline, ns, (const xmlChar *)"arg", NULL);

	return arg && xmlNewProp(arg, (const xmlChar *)"value", (const xmlChar *)value) ? 0
											: -ENOMEM;
}

static char *put_path(char *p, const char *path)
{
	for (; *path; path++) {
		*p++ = *path;
		if (*path == ',')
			*p++ = ',';
	}
	*p = '\0';
	return p;
}

static void chardev_value(char *out, const char *path)
{
	char log[MONITOR_LOG_PATH_MAX];
	char *p = stpcpy(out, "socket,id=" MONITOR_LOG_ID ",path=");

	monitor_log_path(path, log);
	p = stpcpy(put_path(p, path), ",server=on,wait=off,logfile=");
	strcpy(put_path(p, log), ",logappend=on");
}

static int add_monitor(xmlDoc *doc, const char *path)
{
	char chardev[MONITOR_VALUE_MAX];
	xmlNs *ns = qemu_namespace(doc);
	xmlNode *commandline = next_commandline(doc, NULL);

	if (ns && !commandline)
		commandline = xmlNewChild(xmlDocGetRootElement(doc), ns,
					  (const xmlChar *)"commandline", NULL);
	if (!commandline)
		return -ENOMEM;
	chardev_value(chardev, path);
	if (add_arg(commandline, ns, "-chardev") < 0 || add_arg(commandline, ns, chardev) < 0 ||
	    add_arg(commandline, ns, "-mon") < 0)
		return -ENOMEM;
	return add_arg(commandline, ns, MON_VALUE);
}

/* Is this argument what add_monitor would write for the path? */
static bool is_exactly(const xmlNode *option, const xmlNode *value, const char *chardev)
{
	_cleanup_free_ char *name = domain_xml_attr(option, "value");
	_cleanup_free_ char *text = domain_xml_attr(value, "value");

	if (!name || !text)
		return false;
	if (!strcmp(name, "-chardev"))
		return !strcmp(text, chardev);
	return !strcmp(name, "-mon") && !strcmp(text, MON_VALUE);
}

void domain_xml_remove_exactly(xmlDoc *doc, const char *monitor_path)
{
	xmlNode *commandline = next_commandline(doc, NULL);
	xmlNode *option = commandline ? next_arg(commandline->children) : NULL;
	char chardev[MONITOR_VALUE_MAX];

	if (strlen(monitor_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return;
	chardev_value(chardev, monitor_path);
	while (option) {
		xmlNode *value = next_arg(option->next);
		xmlNode *next = value ? next_arg(value->next) : NULL;

		if (value && is_exactly(option, value, chardev)) {
			drop(value);
			drop(option);
		}
		option = next;
	}
	if (commandline && is_empty(commandline))
		drop(commandline);
}

/* ---- what others call ---- */

static xmlNode *child_or_new(xmlNode *node, const char *name)
{
	xmlNode *child = domain_xml_child(node, name);

	return child || !node ? child : xmlNewChild(node, NULL, (const xmlChar *)name, NULL);
}

static int share_memory(xmlDoc *doc)
{
	xmlNode *backing = child_or_new(xmlDocGetRootElement(doc), "memoryBacking");
	xmlNode *access = child_or_new(backing, "access");

	return access && xmlSetProp(access, (const xmlChar *)"mode", (const xmlChar *)"shared")
		       ? 0
		       : -ENOMEM;
}

char *domain_xml_for_destination(const char *xml, const char *monitor_path, bool share,
				 struct errtext *err)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = NULL;

	if (monitor_path[0] != '/' ||
	    strlen(monitor_path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		errtext_set(err, -EINVAL, "%s: not the absolute path of a UNIX socket",
			    monitor_path);
		return NULL;
	}
	doc = domain_xml_parse(xml, "domain", err);
	if (!doc)
		return NULL;
	remove_monitor(doc);
	if (add_monitor(doc, monitor_path) < 0 || (share && share_memory(doc) < 0)) {
		errtext_set(err, -ENOMEM, "domain XML: out of memory");
		return NULL;
	}
	return save(doc, err);
}

char *domain_xml_without_monitor(const char *xml, struct errtext *err)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", err);

	if (!doc)
		return NULL;
	remove_monitor(doc);
	return save(doc, err);
}

int domain_xml_find_monitor(const xmlDoc *doc, char *path, size_t size)
{
	xmlNode *commandline = NULL;

	while ((commandline = next_commandline(doc, commandline))) {
		xmlNode *arg = next_arg(commandline->children);

		for (; arg; arg = next_arg(arg->next)) {
			xmlNode *value = monitor_value(arg);
			_cleanup_free_ char *options =
				value ? domain_xml_attr(value, "value") : NULL;
			int ret = options ? option_get(options, "path", path, size) : -ENOENT;

			if (ret != -ENOENT)
				return ret;
		}
	}
	return -ENOENT;
}

int domain_xml_monitor_path(const char *xml, char *path, size_t size)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", NULL);

	return doc ? domain_xml_find_monitor(doc, path, size) : -EINVAL;
}

char *domain_xml_attr(const xmlNode *node, const char *name)
{
	xmlChar *value =
		node ? xmlGetNoNsProp((xmlNode *)(uintptr_t)node, (const xmlChar *)name) : NULL;
	char *copy = value ? strdup((const char *)value) : NULL;

	/* libxml2 may have an allocator of its own. */
	xmlFree(value);
	return copy;
}
