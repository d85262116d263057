// SPDX-License-Identifier: Apache-2.0
// Can this guest be migrated, and can dray move its RAM itself: every reason against it.
//
// False says that the migration would be refused, by libvirt or by us, or that the guest would come
// to harm. Unknown says that one host alone cannot tell. Unknown does not stop a migration.
//
// Disks are judged as libvirt judges them, since it is libvirt that refuses: a disk that the guest
// writes, in a file on a file system which is none of libvirt's shared ones, is False. (A directory
// that is shared by other means, as by two "hosts" on one machine, looks like any local one.
// libvirt refuses that too, unless qemu.conf names the directory in shared_filesystems; if it names
// any, the answer is Unknown.) The alternative, to pass VIR_MIGRATE_UNSAFE and to judge better
// ourselves, was rejected: nobody can judge it better from one host, and being wrong costs the
// disk.
//
// What libvirt lets pass is not thereby there on the other host. A read-only file, which libvirt
// never asks about, and a block device, which it takes for shared always, are Unknown: they work
// where the same path leads to the same data. <shareable/> on a block device is its owner's word
// that it does. Network disks need no words.
//
// Cache modes do not matter: every QEMU that we support drops its cache at hand-over, and libvirt
// knows that it does.
//
// virtiofs, vhost-user and shared memory devices are reasons against the direct lane only
// (UnseenWriter), as is whatever else tells about RAM.
#include "domain_conditions.h"

#include <stddef.h>
#include <string.h>

#define LIVE CONDITION_LIVE_MIGRATABLE
#define LANE CONDITION_DIRECT_LANE

/* ---- state ---- */

void domain_judge_state(const struct domain_info *info, struct conditions *out)
{
	const char *name = info->name;

	switch (info->state) {
	case DOMAIN_RUNNING:
	case DOMAIN_PAUSED_USER:
	case DOMAIN_STATE_END_:
		break;
	case DOMAIN_ABSENT:
	case DOMAIN_SHUT_OFF:
		conditions_add(out, LIVE, CONDITION_FALSE, "NotRunning",
			       "domain %s is shut off, there is no memory to move: start it "
			       "(`virsh start %s`), or move its definition",
			       name, name);
		return;
	case DOMAIN_INCOMING:
		conditions_add(out, LIVE, CONDITION_FALSE, "MigrationPending",
			       "domain %s is just being migrated to this host: wait until it has "
			       "arrived",
			       name);
		return;
	case DOMAIN_PAUSED_MIGRATION:
	case DOMAIN_PAUSED_POSTCOPY:
		conditions_add(out, LIVE, CONDITION_FALSE, "MigrationPending",
			       "domain %s was left paused by an earlier migration: run `dray "
			       "recover %s` first; or, if somebody paused it during one that "
			       "failed, `virsh resume %s`",
			       name, name, name);
		return;
	}
	if (info->job)
		conditions_add(out, LIVE, CONDITION_FALSE, "JobActive",
			       "domain %s has another job under way (`virsh domjobinfo %s`): wait "
			       "for it, or abort it",
			       name, name);
}

void domain_judge_blockers(const char *domain, const struct domain_blockers *blockers,
			   struct conditions *out)
{
	if (blockers->snapshots)
		conditions_add(out, LIVE, CONDITION_FALSE, "SnapshotsNotLiveMigratable",
			       "domain %s has snapshots, %u of them, with which libvirt does not "
			       "migrate: delete them (`virsh snapshot-list %s`)",
			       domain, blockers->snapshots, domain);
	if (blockers->endless)
		conditions_add(
			out, LIVE, CONDITION_FALSE, "StreamNotDescribed",
			"domain %s: its machine leaves out the text at the end of QEMU's "
			"migration stream (suppress-vmdesc=on), by which dray knows that the "
			"stream has ended: use a machine type of QEMU 2.3 or newer",
			domain);
	for (unsigned int i = 0; i < blockers->count; i++)
		conditions_add(out, LIVE, CONDITION_FALSE, "MigrationBlocked",
			       "domain %s: its QEMU does not migrate now: %s", domain,
			       blockers->reasons[i]);
}

/* ---- devices ---- */

static void judge_interface(const char *domain, const struct domain_device *d,
			    struct conditions *out)
{
	bool tied = (!strcmp(d->type, "hostdev") && !d->unplugged) || !strcmp(d->type, "vdpa");

	if (tied)
		conditions_add(out, LIVE, CONDITION_FALSE, "InterfaceNotLiveMigratable",
			       "domain %s: interface %s (type='%s') is a device of this host: "
			       "detach it, or use <interface type='network'> or 'bridge'",
			       domain, d->name, d->type);
	else if (!strcmp(d->type, "direct") && !strcmp(d->source_mode, "passthrough"))
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "InterfaceNotLiveMigratable",
			       "domain %s: interface %s has a network device of this host to "
			       "itself (mode='passthrough'): cannot tell whether the other host "
			       "has one of the same name that is free",
			       domain, d->name);
}

static void judge_hostdev(const char *domain, const struct domain_device *d, struct conditions *out)
{
	if (d->unplugged)
		return;
	/* libvirt migrates past it: the other host's device of that address, or none, is found. */
	if (!strcmp(d->type, "usb"))
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "HostDeviceNotLiveMigratable",
			       "domain %s: USB host device %s stays on this host: the guest "
			       "loses it, or cannot start there; detach it first",
			       domain, d->name);
	else
		conditions_add(out, LIVE, CONDITION_FALSE, "HostDeviceNotLiveMigratable",
			       "domain %s: host device %s (<hostdev type='%s'>) cannot leave this "
			       "host: detach it",
			       domain, d->name, d->type);
}

static void judge_machine(const struct domain_facts *f, const struct domain_devices *d,
			  struct conditions *out)
{
	if (d->cpu_not_migratable)
		conditions_add(out, LIVE, CONDITION_FALSE, "CPUModeLiveMigratable",
			       "domain %s: <cpu migratable='off'> gives the guest features of "
			       "this CPU that cannot be moved: remove the attribute, or use "
			       "mode='host-model'",
			       f->name);
	if (d->invariant_tsc && !d->tsc_frequency)
		conditions_add(out, LIVE, CONDITION_FALSE, "NoTSCFrequencyNotLiveMigratable",
			       "domain %s: CPU feature invtsc promises a constant clock, but no "
			       "frequency is set: add <timer name='tsc' frequency='HZ'/> to "
			       "<clock>, or remove the feature",
			       f->name);
	if (d->hyperv_passthrough)
		conditions_add(out, LIVE, CONDITION_FALSE, "HypervPassthroughNotLiveMigratable",
			       "domain %s: <hyperv mode='passthrough'> depends on this host's "
			       "kernel and CPU: list the features with mode='custom'",
			       f->name);
}

static void judge_launch_security(const struct domain_facts *f, struct conditions *out)
{
	static const struct {
		const char *prefix, *reason;
	} reasons[] = {
		{"sev", "SEVNotLiveMigratable"}, /* sev-snp too */
		{"tdx", "TDXNotLiveMigratable"},
		{"", "SecureExecutionNotLiveMigratable"}, /* s390-pv */
	};
	size_t i = 0;

	if (!f->launch_security[0])
		return;
	while (strncmp(f->launch_security, reasons[i].prefix, strlen(reasons[i].prefix)) != 0)
		i++;
	conditions_add(out, LIVE, CONDITION_FALSE, reasons[i].reason,
		       "domain %s: its memory is encrypted with a key of this host "
		       "(<launchSecurity type='%s'>): shut it down to move it",
		       f->name, f->launch_security);
}

/* ---- disks ---- */

struct disk_view {
	const char *domain;
	const struct domain_disk *disk;
	bool shared_directories;
};

static void judge_file(const struct disk_view *v, struct conditions *out)
{
	const struct domain_disk *d = v->disk;

	if (d->storage.known && d->storage.shared)
		return;
	if (!d->storage.known)
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
			       "domain %s: disk %s: cannot tell which file system %s is on: "
			       "libvirt refuses the migration unless hosts share it",
			       v->domain, d->name, d->source);
	else if (d->read_only)
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
			       "domain %s: disk %s: read-only file %s is on the local file "
			       "system %s: cannot tell whether the other host has it too; copy it "
			       "there, or eject it",
			       v->domain, d->name, d->source, d->storage.fs);
	else if (v->shared_directories)
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
			       "domain %s: disk %s: file %s is on the local file system %s: "
			       "cannot tell whether it is under shared_filesystems of "
			       "/etc/libvirt/qemu.conf; libvirt refuses the migration otherwise",
			       v->domain, d->name, d->source, d->storage.fs);
	else
		conditions_add(out, LIVE, CONDITION_FALSE, "DisksNotLiveMigratable",
			       "domain %s: disk %s: file %s is on the local file system %s and "
			       "not shared between hosts: move it to shared storage (NFS, CephFS, "
			       "GlusterFS, ..., or a network disk)",
			       v->domain, d->name, d->source, d->storage.fs);
}

static void judge_block(const struct disk_view *v, struct conditions *out)
{
	if (!v->disk->shareable)
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
			       "domain %s: disk %s: libvirt takes block device %s for shared: "
			       "cannot tell whether it leads to the same data on the other host; "
			       "<shareable/> says that it does",
			       v->domain, v->disk->name, v->disk->source);
}

static void judge_nvme(const struct disk_view *v, struct conditions *out)
{
	conditions_add(out, LIVE, CONDITION_FALSE, "DisksNotLiveMigratable",
		       "domain %s: disk %s: an NVMe device of this host, driven by the guest's "
		       "QEMU: move its data to shared storage",
		       v->domain, v->disk->name);
}

static void judge_dir(const struct disk_view *v, struct conditions *out)
{
	const char *source = v->disk->source ? v->disk->source : "";

	if (v->disk->read_only)
		conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
			       "domain %s: disk %s: cannot tell whether the other host has "
			       "directory %s with the same files",
			       v->domain, v->disk->name, source);
	else
		conditions_add(out, LIVE, CONDITION_FALSE, "DisksNotLiveMigratable",
			       "domain %s: disk %s: directory %s is written as a FAT disk, which "
			       "QEMU cannot migrate: make the disk read-only, or an image",
			       v->domain, v->disk->name, source);
}

static void judge_other(const struct disk_view *v, struct conditions *out)
{
	conditions_add(out, LIVE, CONDITION_UNKNOWN, "DisksNotLiveMigratable",
		       "domain %s: disk %s: cannot tell what its source is, nor whether hosts "
		       "share it",
		       v->domain, v->disk->name);
}

static void judge_disk(const struct disk_view *v, struct conditions *out)
{
	static void (*const judges[])(const struct disk_view *v, struct conditions *out) = {
		[DOMAIN_DISK_EMPTY] = NULL,	   [DOMAIN_DISK_FILE] = judge_file,
		[DOMAIN_DISK_BLOCK] = judge_block, [DOMAIN_DISK_NETWORK] = NULL,
		[DOMAIN_DISK_NVME] = judge_nvme,   [DOMAIN_DISK_DIR] = judge_dir,
		[DOMAIN_DISK_OTHER] = judge_other, [DOMAIN_DISK_VHOST] = NULL,
	};
	const struct domain_disk *d = v->disk;

	if (d->transient)
		conditions_add(out, LIVE, CONDITION_FALSE, "DisksNotLiveMigratable",
			       "domain %s: disk %s: libvirt keeps what the guest writes to a "
			       "<transient/> disk in a file of this host: remove <transient/>",
			       v->domain, d->name);
	else if (judges[d->type])
		judges[d->type](v, out);
	if (d->reservations)
		conditions_add(out, LIVE, CONDITION_FALSE, "PersistentReservationNotLiveMigratable",
			       "domain %s: disk %s: SCSI reservations (<reservations>) belong to "
			       "this host's port and do not move: remove them",
			       v->domain, d->name);
}

void domain_judge_devices(const struct domain_facts *f, const struct domain_devices *d,
			  struct conditions *out)
{
	struct disk_view view = {.domain = f->name, .shared_directories = d->shared_directories};

	for (unsigned int i = 0; i < d->device_count; i++) {
		if (d->devices[i].interface)
			judge_interface(f->name, &d->devices[i], out);
	}
	for (unsigned int i = 0; i < d->device_count; i++) {
		if (!d->devices[i].interface)
			judge_hostdev(f->name, &d->devices[i], out);
	}
	judge_launch_security(f, out);
	judge_machine(f, d, out);
	for (unsigned int i = 0; i < d->disk_count; i++) {
		view.disk = &d->disks[i];
		judge_disk(&view, out);
	}
}

void domain_judge_live(const char *domain, struct conditions *out)
{
	if (!conditions_have_type(out, LIVE))
		conditions_add(out, LIVE, CONDITION_TRUE, "Migratable",
			       "nothing that this host can see ties domain %s to it", domain);
}

/* ---- the direct lane ---- */

static void add_obstacle(void *opaque, const char *reason, const char *text)
{
	conditions_add(opaque, LANE, CONDITION_FALSE, reason, "%s", text);
}

static bool has_reason(const struct conditions *c, const char *reason)
{
	for (unsigned int i = 0; i < c->count; i++) {
		if (!strcmp(c->list[i].type, LANE) && !strcmp(c->list[i].reason, reason))
			return true;
	}
	return false;
}

static void judge_ram(const struct domain_facts *f, const struct lane_facts *lane,
		      struct conditions *out)
{
	/* What the definition says already, and better: it knows the XML to change. */
	bool said = has_reason(out, "MemoryNotShared");

	if (lane->ram && lane->ram_on_disk)
		conditions_add(out, LANE, CONDITION_FALSE, "MemoryOnDisk", "domain %s: %s", f->name,
			       lane->ram);
	else if (lane->ram && !said)
		conditions_add(out, LANE, CONDITION_FALSE, "MemoryNotShared", "domain %s: %s",
			       f->name, lane->ram);
	else if (!lane->ram && !said && lane->ram_bytes < f->memory_bytes)
		conditions_add(out, LANE, CONDITION_FALSE, "MemoryNotShared",
			       "domain %s has %llu MiB of memory, but only %llu MiB of it in "
			       "shared named files: every NUMA cell and memory device needs "
			       "shared access",
			       f->name, (unsigned long long)f->memory_bytes >> 20,
			       (unsigned long long)lane->ram_bytes >> 20);
	if (lane->other_mapper)
		conditions_add(out, LANE, CONDITION_FALSE, "OtherMapper",
			       "domain %s: process %d has the guest's memory mapped too (a "
			       "vhost-user backend?) and could write it unseen: such a guest "
			       "cannot take the direct lane",
			       f->name, lane->other_mapper);
}

static void judge_ready(const struct domain_facts *f, const struct lane_facts *lane,
			struct conditions *out)
{
	if (lane->looked && domain_is_strained(f))
		conditions_add(
			out, LANE, CONDITION_TRUE, "Strained",
			"%s of domain %s can be tracked, and dray strains it out of QEMU's "
			"own stream%s",
			f->source == DOMAIN_MEMORY_MEMFD ? "the memfd" : "the private memory",
			f->name,
			f->source == DOMAIN_MEMORY_MEMFD
				? ""
				: "; it arrives in shared files, where the destination's "
				  "memory_backing_dir is on tmpfs, and stays private where it is "
				  "not");
	else if (lane->looked && f->direct_disks)
		conditions_add(out, LANE, CONDITION_TRUE, "Ready",
			       "all memory of domain %s is in shared named files and can be "
			       "tracked; disk %s is read straight into it, so dray uses %s",
			       f->name, f->direct_disk,
			       f->adds_monitor
				       ? "a monitor that QEMU has for the time of the migration"
				       : "the guest's private monitor");
	else if (lane->looked)
		conditions_add(out, LANE, CONDITION_TRUE, "Ready",
			       "all memory of domain %s is in shared named files and can be "
			       "tracked",
			       f->name);
	else
		conditions_add(out, LANE, CONDITION_UNKNOWN, "NotChecked",
			       "the memory of domain %s can be judged only when it runs and no "
			       "job is under way",
			       f->name);
}

void domain_judge_lane(const struct domain_facts *f, const struct lane_facts *lane,
		       struct conditions *out)
{
	if (lane->kernel)
		conditions_add(out, LANE, CONDITION_FALSE, "KernelTooOld", "%s", lane->kernel);
	if (lane->uring)
		conditions_add(out, LANE, CONDITION_FALSE, "IoUringForbidden", "%s", lane->uring);
	domain_direct_obstacles(f, add_obstacle, out);
	if (lane->looked)
		judge_ram(f, lane, out);
	if (!conditions_have_type(out, LANE))
		judge_ready(f, lane, out);
}
