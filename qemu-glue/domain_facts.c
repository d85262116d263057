// SPDX-License-Identifier: Apache-2.0
// What of a domain's definition decides whether dray can move its RAM itself.
//
// RAM: libvirt makes a memory-backend-file for <source type='file'/>, for huge pages, and for any
// explicit access mode; of memfd it makes something that current QEMU does not leave out of its own
// migration. Cells and DIMMs have an access mode of their own, the guest's is their default.
//
// Disks: what reads straight into guest RAM (O_DIRECT, or SG_IO of a passed-through LUN) marks the
// page when the read starts, not when the data arrives. That needs a monitor of our own, over which
// dray waits for such reads: the private one, or one that QEMU is given for the time.
//
// Devices that write guest RAM by other page tables than QEMU's are never seen: VFIO and
// vhost-vdpa (DMA), vhost-user backends (a mapping of their own), vhost-scsi (pages pinned in
// the kernel, and no way to wait for them). Kernel vhost-net writes through QEMU's page tables, and
// so do <interface type='user'> with passt, whose packets QEMU reads from a socket, and USB
// devices.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "domain_xml.h"
#include "domain_xml_private.h"
#include "monitor_log.h"

static bool attr_is(const xmlNode *node, const char *name, const char *value)
{
	_cleanup_free_ char *found = domain_xml_attr(node, name);

	return found && !strcmp(found, value);
}

static bool has_child(const xmlNode *node, const char *name)
{
	return domain_xml_child(node, name) != NULL;
}

static void copy_text(char *out, size_t size, const xmlNode *node)
{
	xmlChar *text = node ? xmlNodeGetContent(node) : NULL;

	snprintf(out, size, "%s", text ? (const char *)text : "");
	xmlFree(text);
}

/* ---- memory ---- */

static uint64_t memory_bytes(const xmlNode *memory)
{
	static const struct {
		const char *unit;
		uint64_t bytes;
	} units[] = {
		{"b", 1},	    {"bytes", 1},	 {"KB", 1000},	      {"k", 1024},
		{"KiB", 1024},	    {"MB", 1000000},	 {"M", 1ull << 20},   {"MiB", 1ull << 20},
		{"GB", 1000000000}, {"G", 1ull << 30},	 {"GiB", 1ull << 30}, {"TB", 1000000000000},
		{"T", 1ull << 40},  {"TiB", 1ull << 40},
	};
	_cleanup_free_ char *unit = domain_xml_attr(memory, "unit");
	uint64_t factor = 1024, bytes;
	char text[32];

	for (size_t i = 0; unit && i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(units[i].unit, unit))
			factor = units[i].bytes;
	}
	copy_text(text, sizeof(text), memory);
	return __builtin_mul_overflow(strtoull(text, NULL, 10), factor, &bytes) ? UINT64_MAX
										: bytes;
}

static enum domain_access access_of(const xmlNode *node, const char *attr)
{
	if (attr_is(node, attr, "shared"))
		return DOMAIN_ACCESS_SHARED;
	return attr_is(node, attr, "private") ? DOMAIN_ACCESS_PRIVATE : DOMAIN_ACCESS_DEFAULT;
}

static bool is_shared(const struct domain_facts *f, enum domain_access own)
{
	return (own == DOMAIN_ACCESS_DEFAULT ? f->access : own) == DOMAIN_ACCESS_SHARED;
}

static void read_backing(const xmlNode *root, struct domain_facts *f)
{
	const xmlNode *backing = domain_xml_child(root, "memoryBacking");
	const xmlNode *source = domain_xml_child(backing, "source");

	if (attr_is(source, "type", "file"))
		f->source = DOMAIN_MEMORY_FILE;
	else if (attr_is(source, "type", "memfd"))
		f->source = DOMAIN_MEMORY_MEMFD;
	else if (attr_is(source, "type", "anonymous"))
		f->source = DOMAIN_MEMORY_ANONYMOUS;
	f->access = access_of(domain_xml_child(backing, "access"), "mode");
	f->hugepages = has_child(backing, "hugepages");
}

static void read_cells(const xmlNode *root, struct domain_facts *f)
{
	const xmlNode *numa = domain_xml_child(domain_xml_child(root, "cpu"), "numa");

	for (const xmlNode *cell = numa ? numa->children : NULL; cell; cell = cell->next) {
		if (!domain_xml_is(cell, "cell"))
			continue;
		f->numa_cells++;
		f->cells_not_shared += !is_shared(f, access_of(cell, "memAccess"));
		f->own_private += access_of(cell, "memAccess") == DOMAIN_ACCESS_PRIVATE;
	}
}

/* ---- devices ---- */

static void unseen(struct domain_facts *f, const char *what, const xmlNode *alias_of)
{
	_cleanup_free_ char *alias = domain_xml_attr(domain_xml_child(alias_of, "alias"), "name");

	if (f->unseen_writers++ == 0)
		snprintf(f->unseen_writer, sizeof(f->unseen_writer), "%s%s%s%s", what,
			 alias ? " (" : "", alias ? alias : "", alias ? ")" : "");
}

static void direct(struct domain_facts *f, const char *name, const char *why)
{
	if (f->direct_disks++ == 0)
		snprintf(f->direct_disk, sizeof(f->direct_disk), "%s (%s)", name, why);
}

static void read_disk(const xmlNode *disk, struct domain_facts *f)
{
	const xmlNode *driver = domain_xml_child(disk, "driver");
	_cleanup_free_ char *target = domain_xml_attr(domain_xml_child(disk, "target"), "dev");
	const char *name = target ? target : "disk";

	f->disks++;
	if (attr_is(disk, "type", "vhostuser"))
		unseen(f, "a vhost-user disk", disk);
	else if (attr_is(disk, "type", "vhostvdpa"))
		unseen(f, "a vhost-vdpa disk", disk);
	else if (attr_is(disk, "type", "nvme"))
		unseen(f, "an NVMe disk driven through VFIO", disk);
	if (attr_is(disk, "device", "lun"))
		direct(f, name, "device='lun'");
	else if (attr_is(driver, "cache", "none"))
		direct(f, name, "cache='none'");
	else if (attr_is(driver, "cache", "directsync"))
		direct(f, name, "cache='directsync'");
	else if (attr_is(driver, "io", "native"))
		direct(f, name, "io='native'");
}

static void read_hostdev(const xmlNode *hostdev, struct domain_facts *f)
{
	if (attr_is(hostdev, "type", "usb"))
		return;
	if (attr_is(hostdev, "type", "scsi"))
		direct(f, "a SCSI host device", "<hostdev type='scsi'>");
	else
		unseen(f, "a host device", hostdev);
}

static void read_interface(const xmlNode *interface, struct domain_facts *f)
{
	if (attr_is(interface, "type", "vhostuser"))
		unseen(f, "a vhost-user interface", interface);
	else if (attr_is(interface, "type", "hostdev"))
		unseen(f, "a host network device", interface);
	else if (attr_is(interface, "type", "vdpa"))
		unseen(f, "a vDPA interface", interface);
}

static void read_filesystem(const xmlNode *fs, struct domain_facts *f)
{
	if (attr_is(domain_xml_child(fs, "driver"), "type", "virtiofs"))
		unseen(f, "a virtiofs file system", fs);
}

static void read_video(const xmlNode *video, struct domain_facts *f)
{
	if (attr_is(domain_xml_child(video, "driver"), "name", "vhostuser"))
		unseen(f, "a vhost-user GPU", video);
}

static void read_shmem(const xmlNode *shmem, struct domain_facts *f)
{
	unseen(f, "memory shared with other guests (<shmem>)", shmem);
}

static void read_balloon(const xmlNode *balloon, struct domain_facts *f)
{
	f->balloon |= !attr_is(balloon, "model", "none");
	f->gives_back |= f->balloon && attr_is(balloon, "freePageReporting", "on");
}

static void read_dimm(const xmlNode *memory, struct domain_facts *f)
{
	f->gives_back |= attr_is(memory, "model", "virtio-mem");
	f->virtio_mem += attr_is(memory, "model", "virtio-mem");
	f->own_private += access_of(memory, "access") == DOMAIN_ACCESS_PRIVATE;
	f->dimms++;
	f->dimms_not_shared += !is_shared(f, access_of(memory, "access"));
}

static void read_devices(const xmlNode *root, struct domain_facts *f)
{
	static const struct {
		const char *element;
		void (*read)(const xmlNode *device, struct domain_facts *f);
	} readers[] = {
		{"disk", read_disk},	       {"hostdev", read_hostdev},
		{"interface", read_interface}, {"video", read_video},
		{"shmem", read_shmem},	       {"filesystem", read_filesystem},
		{"memory", read_dimm},	       {"memballoon", read_balloon},
	};
	const xmlNode *devices = domain_xml_child(root, "devices");

	for (const xmlNode *d = devices ? devices->children : NULL; d; d = d->next) {
		for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
			if (domain_xml_is(d, readers[i].element))
				readers[i].read(d, f);
		}
	}
}

/* libvirt asks QEMU for what the balloon leaves to the guest. */
static void read_current_memory(const xmlNode *root, struct domain_facts *f)
{
	const xmlNode *current = domain_xml_child(root, "currentMemory");

	f->gives_back |= f->balloon && current && memory_bytes(current) < f->memory_bytes;
}

static void read_launch_security(const xmlNode *root, struct domain_facts *f)
{
	const xmlNode *node = domain_xml_child(root, "launchSecurity");
	_cleanup_free_ char *type = domain_xml_attr(node, "type");

	if (node)
		snprintf(f->launch_security, sizeof(f->launch_security), "%s", type ? type : "yes");
}

int domain_xml_facts(const char *xml, struct domain_facts *f, struct errtext *err)
{
	_cleanup_(domain_xml_free) xmlDoc *doc = domain_xml_parse(xml, "domain", err);
	const xmlNode *root;
	char path[1];

	memset(f, 0, sizeof(*f));
	if (!doc)
		return -EINVAL;
	root = xmlDocGetRootElement(doc);
	copy_text(f->name, sizeof(f->name), domain_xml_child(root, "name"));
	f->memory_bytes = memory_bytes(domain_xml_child(root, "memory"));
	read_backing(root, f);
	read_cells(root, f);
	read_devices(root, f);
	read_current_memory(root, f);
	read_launch_security(root, f);
	f->monitor = domain_xml_find_monitor(doc, path, sizeof(path)) != -ENOENT;
	return 0;
}

/* ---- the verdict ---- */

/* Memory is made when the guest starts: a reboot from inside does not change it. */
#define START_ANEW " (`virsh edit`), then shut the guest down and start it again"

static int check_encryption(const struct domain_facts *f, struct errtext *err)
{
	if (!f->launch_security[0])
		return 0;
	return errtext_set(err, -ENOTSUP,
			   "domain %s: its memory is encrypted (<launchSecurity type='%s'>) "
			   "and cannot be read from outside",
			   f->name, f->launch_security);
}

static int check_writers(const struct domain_facts *f, struct errtext *err)
{
	if (!f->unseen_writers)
		return 0;
	return errtext_set(err, -ENOTSUP,
			   "domain %s: %s writes its memory where nobody sees it%s; detach it "
			   "to use the direct lane",
			   f->name, f->unseen_writer,
			   f->unseen_writers > 1 ? ", and others do" : "");
}

static bool is_all_shared(const struct domain_facts *f)
{
	return !f->cells_not_shared && !f->dimms_not_shared &&
	       (f->numa_cells || f->access == DOMAIN_ACCESS_SHARED);
}

/* virtio-mem sends what the guest may use of it ahead of all memory, where the strainer does not
 * expect it. */
bool domain_is_strained(const struct domain_facts *f)
{
	if (f->virtio_mem)
		return false;
	if (f->source == DOMAIN_MEMORY_MEMFD)
		return is_all_shared(f);
	return f->source == DOMAIN_MEMORY_NONE && f->access == DOMAIN_ACCESS_DEFAULT &&
	       !f->own_private && !is_all_shared(f);
}

static int check_memory(const struct domain_facts *f, struct errtext *err)
{
	static const char backing[] = "<memoryBacking><source type='file'/>"
				      "<access mode='shared'/></memoryBacking>";

	if (domain_is_strained(f))
		return 0;
	if (f->source == DOMAIN_MEMORY_MEMFD)
		return errtext_set(err, -ENOTSUP,
				   "domain %s: its memory is a memfd, which QEMU sends itself; "
				   "replace <source type='memfd'/> to get: %s" START_ANEW,
				   f->name,
				   f->hugepages ? "<memoryBacking><hugepages/>"
						  "<access mode='shared'/></memoryBacking>"
						: backing);
	if (f->cells_not_shared)
		return errtext_set(
			err, -ENOTSUP,
			"domain %s: the memory of %u of %u NUMA cells is private to QEMU; "
			"set memAccess='shared' in each <cell>, or add "
			"<memoryBacking><access mode='shared'/></memoryBacking>" START_ANEW,
			f->name, f->cells_not_shared, f->numa_cells);
	if (f->numa_cells == 0 && f->access != DOMAIN_ACCESS_SHARED)
		return errtext_set(err, -ENOTSUP,
				   "domain %s: its memory is private to QEMU; add: %s" START_ANEW,
				   f->name,
				   f->hugepages ? "<memoryBacking><hugepages/>"
						  "<access mode='shared'/></memoryBacking>"
						: backing);
	return 0;
}

static int check_dimms(const struct domain_facts *f, struct errtext *err)
{
	if (!f->dimms_not_shared || domain_is_strained(f))
		return 0;
	return errtext_set(err, -ENOTSUP,
			   "domain %s: %u of %u memory devices are private to QEMU; set "
			   "access='shared' in each <memory>" START_ANEW,
			   f->name, f->dimms_not_shared, f->dimms);
}

static int check_disks(const struct domain_facts *f, struct errtext *err)
{
	if (!f->direct_disks || f->monitor || f->adds_monitor)
		return 0;
	return errtext_set(
		err, -ENOTSUP,
		"domain %s: disk %s is read straight into guest memory, which needs a "
		"monitor of dray's own, and this QEMU takes none while it runs; give the disk "
		"cache='writeback', or add: "
		"<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
		"<qemu:arg value='-chardev'/><qemu:arg value='socket,id=" MONITOR_LOG_ID
		",path=/var/lib/libvirt/qemu/%s.dray,server=on,wait=off'/>"
		"<qemu:arg value='-mon'/><qemu:arg value='chardev=" MONITOR_LOG_ID
		",mode=control'/></qemu:commandline>" START_ANEW,
		f->name, f->direct_disk, f->name);
}

static const struct {
	const char *reason;
	int (*check)(const struct domain_facts *f, struct errtext *err);
} checks[] = {
	{"MemoryEncrypted", check_encryption}, {"UnseenWriter", check_writers},
	{"MemoryNotShared", check_memory},     {"MemoryNotShared", check_dimms},
	{"DiskNeedsMonitor", check_disks},
};

void domain_direct_obstacles(const struct domain_facts *f,
			     void (*found)(void *opaque, const char *reason, const char *text),
			     void *opaque)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		struct errtext err = {0};

		if (checks[i].check(f, &err) < 0)
			found(opaque, checks[i].reason, err.text);
	}
}

int domain_ready_for_direct(const struct domain_facts *f, struct errtext *err)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && ret == 0; i++)
		ret = checks[i].check(f, err);
	return ret;
}
