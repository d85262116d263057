// SPDX-License-Identifier: Apache-2.0
// Reading from a domain's XML what can tie a guest to its host.
//
// Only the disk itself is looked at, not the images below it (<backingStore>): so does libvirt.
#include "domain_devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "domain_xml_private.h"

static bool attr_is(const xmlNode *node, const char *name, const char *value)
{
	_cleanup_free_ char *found = domain_xml_attr(node, name);

	return found && !strcmp(found, value);
}

static void copy_attr(char *out, size_t size, const xmlNode *node, const char *name)
{
	_cleanup_free_ char *value = domain_xml_attr(node, name);

	snprintf(out, size, "%s", value ? value : "");
}

static bool has_child(const xmlNode *node, const char *name)
{
	return domain_xml_child(node, name) != NULL;
}

/* ---- disks ---- */

static const struct disk_kind {
	const char *type;
	enum domain_disk_type value;
	const char *attr; /* of <source>, that names it */
} disk_kinds[] = {
	{"file", DOMAIN_DISK_FILE, "file"},	  {"block", DOMAIN_DISK_BLOCK, "dev"},
	{"network", DOMAIN_DISK_NETWORK, "name"}, {"nvme", DOMAIN_DISK_NVME, NULL},
	{"dir", DOMAIN_DISK_DIR, "dir"},	  {"vhostuser", DOMAIN_DISK_VHOST, NULL},
	{"vhostvdpa", DOMAIN_DISK_VHOST, NULL},
};

static void read_disk_source(const xmlNode *disk, struct domain_disk *out)
{
	const xmlNode *source = domain_xml_child(disk, "source");
	const struct disk_kind *kind = NULL;

	for (size_t i = 0; i < sizeof(disk_kinds) / sizeof(*disk_kinds); i++) {
		if (attr_is(disk, "type", disk_kinds[i].type))
			kind = &disk_kinds[i];
	}
	out->type = DOMAIN_DISK_EMPTY;
	if (!source)
		return;
	out->type = kind ? kind->value : DOMAIN_DISK_OTHER;
	out->source = kind && kind->attr ? domain_xml_attr(source, kind->attr) : NULL;
	if (!out->source && (out->type == DOMAIN_DISK_FILE || out->type == DOMAIN_DISK_BLOCK))
		out->type = DOMAIN_DISK_EMPTY;
	out->reservations = has_child(source, "reservations");
}

static int read_disk(const xmlNode *disk, struct domain_devices *d)
{
	struct domain_disk *grown = reallocarray(d->disks, d->disk_count + 1, sizeof(*grown));
	struct domain_disk *out;

	if (!grown)
		return -ENOMEM;
	d->disks = grown;
	out = &grown[d->disk_count++];
	*out = (struct domain_disk){0};
	copy_attr(out->name, sizeof(out->name), domain_xml_child(disk, "target"), "dev");
	out->read_only = has_child(disk, "readonly") || attr_is(disk, "device", "cdrom");
	out->shareable = has_child(disk, "shareable");
	out->transient = has_child(disk, "transient");
	read_disk_source(disk, out);
	return 0;
}

/* ---- devices ---- */

static struct domain_device *add_device(const xmlNode *node, struct domain_devices *d)
{
	struct domain_device *grown = reallocarray(d->devices, d->device_count + 1, sizeof(*grown));
	struct domain_device *out;

	if (!grown)
		return NULL;
	d->devices = grown;
	out = &grown[d->device_count++];
	*out = (struct domain_device){0};
	copy_attr(out->name, sizeof(out->name), domain_xml_child(node, "alias"), "name");
	copy_attr(out->type, sizeof(out->type), node, "type");
	out->unplugged = attr_is(domain_xml_child(node, "teaming"), "type", "transient");
	return out;
}

static int read_hostdev(const xmlNode *node, struct domain_devices *d)
{
	return add_device(node, d) ? 0 : -ENOMEM;
}

static int read_interface(const xmlNode *node, struct domain_devices *d)
{
	struct domain_device *out = add_device(node, d);

	if (!out)
		return -ENOMEM;
	out->interface = true;
	copy_attr(out->source_mode, sizeof(out->source_mode), domain_xml_child(node, "source"),
		  "mode");
	return 0;
}

static int read_devices(const xmlNode *root, struct domain_devices *d)
{
	static const struct {
		const char *element;
		int (*read)(const xmlNode *node, struct domain_devices *d);
	} readers[] = {
		{"disk", read_disk},
		{"hostdev", read_hostdev},
		{"interface", read_interface},
	};
	const xmlNode *devices = domain_xml_child(root, "devices");
	int ret = 0;

	for (const xmlNode *n = devices ? devices->children : NULL; n && ret == 0; n = n->next) {
		for (size_t i = 0; i < sizeof(readers) / sizeof(*readers) && ret == 0; i++) {
			if (domain_xml_is(n, readers[i].element))
				ret = readers[i].read(n, d);
		}
	}
	return ret;
}

/* ---- the machine ---- */

static void read_cpu(const xmlNode *root, struct domain_devices *d)
{
	const xmlNode *cpu = domain_xml_child(root, "cpu");

	d->cpu_not_migratable = attr_is(cpu, "migratable", "off");
	for (const xmlNode *n = cpu ? cpu->children : NULL; n; n = n->next) {
		_cleanup_free_ char *policy = NULL;

		if (!domain_xml_is(n, "feature") || !attr_is(n, "name", "invtsc"))
			continue;
		policy = domain_xml_attr(n, "policy");
		d->invariant_tsc =
			!policy || !strcmp(policy, "require") || !strcmp(policy, "force");
	}
}

static void read_clock(const xmlNode *root, struct domain_devices *d)
{
	const xmlNode *clock = domain_xml_child(root, "clock");

	for (const xmlNode *n = clock ? clock->children : NULL; n; n = n->next) {
		_cleanup_free_ char *frequency = NULL;

		if (!domain_xml_is(n, "timer") || !attr_is(n, "name", "tsc"))
			continue;
		frequency = domain_xml_attr(n, "frequency");
		d->tsc_frequency |= frequency && strtoull(frequency, NULL, 10) > 0;
	}
}

int domain_devices_read(const char *xml, struct domain_devices *d, struct errtext *err)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", err);
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	const xmlNode *features = domain_xml_child(root, "features");

	*d = (struct domain_devices){0};
	if (!doc)
		return -EINVAL;
	read_cpu(root, d);
	read_clock(root, d);
	d->hyperv_passthrough =
		attr_is(domain_xml_child(features, "hyperv"), "mode", "passthrough");
	if (read_devices(root, d) < 0)
		return errtext_set(err, -ENOMEM, "domain XML: out of memory");
	return 0;
}

void domain_devices_destroy(struct domain_devices *d)
{
	for (unsigned int i = 0; i < d->disk_count; i++)
		free(d->disks[i].source);
	free(d->disks);
	free(d->devices);
	*d = (struct domain_devices){0};
}

void domain_devices_look(struct domain_devices *d, pid_t qemu)
{
	for (unsigned int i = 0; i < d->disk_count; i++) {
		struct domain_disk *disk = &d->disks[i];

		if (disk->type == DOMAIN_DISK_FILE)
			disk_storage_look(qemu, disk->source, &disk->storage, NULL);
	}
	d->shared_directories = disk_storage_overridden(qemu);
}
