// SPDX-License-Identifier: Apache-2.0
// The places of paths, a table.
#include "definition_place.h"

#include "definition_node.h"

/* NULL for a parent: any; for an attribute: the element's own text. The first that fits counts. */
struct path_place {
	const char *parent, *element, *attribute;
	enum definition_use use;
	/* The attribute is a path only if the parent is of this type; NULL: always. */
	const char *type;
};

static const struct path_place places[] = {
	{"devices", "emulator", NULL, DEFINITION_EMULATOR, NULL},
	{"os", "loader", NULL, DEFINITION_READ, NULL},
	{"os", "kernel", NULL, DEFINITION_DATA, NULL},
	{"os", "initrd", NULL, DEFINITION_DATA, NULL},
	{"os", "dtb", NULL, DEFINITION_DATA, NULL},
	{"acpi", "table", NULL, DEFINITION_DATA, NULL},
	{"os", "nvram", "template", DEFINITION_READ, NULL},
	{"os", "nvram", NULL, DEFINITION_DATA, NULL},
	{NULL, "entry", "file", DEFINITION_DATA, NULL},
	{NULL, "entry", NULL, DEFINITION_NONE, NULL},
	{"rng", "backend", NULL, DEFINITION_ENTROPY, NULL},
	{NULL, "source", "file", DEFINITION_DATA, NULL},
	{NULL, "source", "dir", DEFINITION_DATA, NULL},
	{"disk", "source", "dev", DEFINITION_DATA, NULL},
	{"backingStore", "source", "dev", DEFINITION_DATA, NULL},
	{"mirror", "source", "dev", DEFINITION_DATA, NULL},
	{"source", "host", "socket", DEFINITION_CONNECT, NULL},
	{"disk", "source", "name", DEFINITION_NONE, NULL}, /* at another host */
	{"backingStore", "source", "name", DEFINITION_NONE, NULL},
	{"mirror", "source", "name", DEFINITION_NONE, NULL},
	{"disk", "source", "query", DEFINITION_NONE, NULL},
	{NULL, "source", "path", DEFINITION_TERMINAL, "pty"},
	{NULL, "source", "path", DEFINITION_DATA, "file"},
	{NULL, "source", "path", DEFINITION_DATA, "pipe"},
	{NULL, "source", "path", DEFINITION_DEVICE, "dev"},
	{NULL, "source", "path", DEFINITION_CONNECT, "unix"}, /* or listen: see chardev_use */
	{"backend", "source", "path", DEFINITION_DATA, NULL}, /* an emulated TPM's state */
	{"source", "path", NULL, DEFINITION_DATA, NULL},      /* NVDIMM */
	{NULL, "console", "tty", DEFINITION_TERMINAL, NULL},
	{NULL, "log", "file", DEFINITION_DATA, NULL},
	{NULL, "graphics", "socket", DEFINITION_LISTEN, NULL},
	{"graphics", "listen", "socket", DEFINITION_LISTEN, NULL},
	{"graphics", "gl", "rendernode", DEFINITION_RENDER, NULL},
	{"model", "acceleration", "rendernode", DEFINITION_RENDER, NULL},
	{"interface", "backend", "tap", DEFINITION_NETWORK, NULL},
	{"interface", "backend", "vhost", DEFINITION_NETWORK, NULL},
	{"source", "identity", "keyfile", DEFINITION_DATA, NULL},
	{"source", "identity", "agentsock", DEFINITION_CONNECT, NULL},
	{"source", "knownHosts", "path", DEFINITION_DATA, NULL},
	{"source", "config", "file", DEFINITION_CEPH, NULL},
	{"smartcard", "database", NULL, DEFINITION_DATA, NULL},
	{"backend", "device", "path", DEFINITION_DATA, NULL}, /* TPM passed through */
	{"devices", "audio", "path", DEFINITION_DATA, NULL},
	{"devices", "graphics", "address", DEFINITION_CONNECT, NULL}, /* D-Bus: no path, refused */
	{NULL, "rom", "file", DEFINITION_READ, NULL},
	{"device", "path", NULL, DEFINITION_NONE, NULL}, /* <blkiotune>: its name */
	{"pstore", "path", NULL, DEFINITION_DATA, NULL},
	{"nvram", "source", "dev", DEFINITION_DATA, NULL},
	{"dataStore", "source", "dev", DEFINITION_DATA, NULL},
	{"resource", "partition", NULL, DEFINITION_NONE, NULL}, /* of the cgroups */
	{"domain", "name", NULL, DEFINITION_NONE, NULL},
	{"domain", "title", NULL, DEFINITION_NONE, NULL},
	{"domain", "description", NULL, DEFINITION_NONE, NULL},
	{"os", "cmdline", NULL, DEFINITION_NONE, NULL}, /* the guest's */
};

/* A UNIX socket is made, or connected to, as the source's mode says; to connect is the default. */
static enum definition_use use_of(const struct path_place *place, const xmlNode *node)
{
	if (place->type && !strcmp(place->type, "unix") &&
	    definition_node_has(node, "mode", "bind"))
		return DEFINITION_LISTEN;
	return place->use;
}

static bool fits(const struct path_place *p, const xmlNode *node, const char *attribute)
{
	if (!definition_node_is(node, p->element) || !definition_node_is(node->parent, p->parent))
		return false;
	if (!attribute != !p->attribute || (attribute && strcmp(attribute, p->attribute) != 0))
		return false;
	return !p->type || definition_node_has(node->parent, "type", p->type);
}

bool definition_place_find(const xmlNode *node, const char *attribute, enum definition_use *use)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (fits(&places[i], node, attribute)) {
			*use = use_of(&places[i], node);
			return true;
		}
	return false;
}
