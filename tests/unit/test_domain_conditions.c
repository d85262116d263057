// SPDX-License-Identifier: Apache-2.0
// From a domain's XML, and what its files and its process tell, to conditions.
#include "domain_conditions.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#define SHARED "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"
#define TARGET "<target dev='vda'/>"
#define FILE_DISK(inside) "<disk type='file'><source file='/d/x.img'/>" TARGET inside "</disk>"
#define BLOCK_DISK(inside) "<disk type='block'><source dev='/dev/vg/x'/>" TARGET inside "</disk>"
#define HOSTDEV(type, inside)                                                                      \
	"<hostdev mode='subsystem' type='" type "'><alias name='hostdev0'/>" inside "</hostdev>"
#define INTERFACE(type, inside)                                                                    \
	"<interface type='" type "'><alias name='net0'/>" inside "</interface>"
#define TRANSIENT "<teaming type='transient' persistent='ua-1'/>"
#define INVTSC "<cpu><feature policy='require' name='invtsc'/></cpu>"

/* "False Reason, Unknown Reason": all conditions of a type. */
static const char *summary(const struct conditions *c, const char *type)
{
	static char text[1024];
	size_t at = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < c->count; i++) {
		const struct condition *x = &c->list[i];

		if (!strcmp(x->type, type))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s %s",
					       at ? ", " : "", condition_status_name(x->status),
					       x->reason);
	}
	return text;
}

static bool some_message_has(const struct conditions *c, const char *words)
{
	for (unsigned int i = 0; i < c->count; i++) {
		if (strstr(c->list[i].message, words))
			return true;
	}
	return false;
}

static void expect_domain_named(const struct conditions *c)
{
	for (unsigned int i = 0; i < c->count; i++)
		cr_assert_not_null(strstr(c->list[i].message, "domain web"), "%s",
				   c->list[i].message);
}

static void read_facts(const char *inside, struct domain_facts *f, struct domain_devices *d)
{
	struct errtext err = {0};
	char xml[4096];

	snprintf(xml, sizeof(xml),
		 "<domain type='kvm'><name>web</name><memory unit='MiB'>1024</memory>%s</domain>",
		 inside);
	cr_assert_eq(domain_xml_facts(xml, f, &err), 0, "%s", err.text);
	cr_assert_eq(domain_devices_read(xml, d, &err), 0, "%s", err.text);
}

/* ---- devices ---- */

enum disk_fs { FS_LOCAL, FS_SHARED, FS_NOT_KNOWN, FS_OVERRIDDEN };

static const struct device_row {
	const char *name, *devices, *others;
	enum disk_fs fs;
	const char *expected, *words;
} device_rows[] = {
	{"nothing", "", "", FS_LOCAL, "", NULL},

	{"local file", FILE_DISK(""), "", FS_LOCAL, "False DisksNotLiveMigratable",
	 "disk vda: file /d/x.img is on the local file system ext4"},
	{"local file, cache=none", FILE_DISK("<driver cache='none'/>"), "", FS_LOCAL,
	 "False DisksNotLiveMigratable", NULL},
	{"local file, shareable", FILE_DISK("<shareable/>"), "", FS_LOCAL,
	 "False DisksNotLiveMigratable", NULL},
	{"local file, read-only", FILE_DISK("<readonly/>"), "", FS_LOCAL,
	 "Unknown DisksNotLiveMigratable", "read-only file /d/x.img"},
	{"CD-ROM",
	 "<disk type='file' device='cdrom'><source file='/d/x.iso'/><target dev='sda'/></disk>", "",
	 FS_LOCAL, "Unknown DisksNotLiveMigratable", "disk sda"},
	{"file, overridden", FILE_DISK(""), "", FS_OVERRIDDEN, "Unknown DisksNotLiveMigratable",
	 "shared_filesystems"},
	{"file, not known", FILE_DISK(""), "", FS_NOT_KNOWN, "Unknown DisksNotLiveMigratable",
	 "cannot tell which file system"},
	{"shared file", FILE_DISK(""), "", FS_SHARED, "", NULL},
	{"shared file, read-only", FILE_DISK("<readonly/>"), "", FS_SHARED, "", NULL},
	{"shared file, cached", FILE_DISK("<driver cache='writeback'/>"), "", FS_SHARED, "", NULL},
	{"empty drive", "<disk type='file' device='cdrom'><target dev='sda'/></disk>", "", FS_LOCAL,
	 "", NULL},
	{"source without file", "<disk type='file'><source/>" TARGET "</disk>", "", FS_LOCAL, "",
	 NULL},
	{"transient", FILE_DISK("<transient/>"), "", FS_SHARED, "False DisksNotLiveMigratable",
	 "<transient/>"},
	{"block", BLOCK_DISK(""), "", FS_LOCAL, "Unknown DisksNotLiveMigratable", "/dev/vg/x"},
	{"block, shareable", BLOCK_DISK("<shareable/>"), "", FS_LOCAL, "", NULL},
	{"network", "<disk type='network'><source protocol='rbd' name='p/i'/>" TARGET "</disk>", "",
	 FS_LOCAL, "", NULL},
	{"nvme", "<disk type='nvme'><source type='pci'/>" TARGET "</disk>", "", FS_LOCAL,
	 "False DisksNotLiveMigratable", "NVMe"},
	{"directory", "<disk type='dir'><source dir='/d'/>" TARGET "</disk>", "", FS_LOCAL,
	 "False DisksNotLiveMigratable", "directory /d"},
	{"directory, read-only", "<disk type='dir'><source dir='/d'/>" TARGET "<readonly/></disk>",
	 "", FS_LOCAL, "Unknown DisksNotLiveMigratable", "directory /d"},
	{"volume", "<disk type='volume'><source pool='p' volume='v'/>" TARGET "</disk>", "",
	 FS_LOCAL, "Unknown DisksNotLiveMigratable", NULL},
	{"vhost-user disk", "<disk type='vhostuser'><source type='unix'/>" TARGET "</disk>", "",
	 FS_LOCAL, "", NULL},
	{"reservations",
	 "<disk type='block' device='lun'><source dev='/dev/sdb'>"
	 "<reservations managed='yes'/></source>" TARGET "<shareable/></disk>",
	 "", FS_LOCAL, "False PersistentReservationNotLiveMigratable", "disk vda"},
	{"two disks", FILE_DISK("") FILE_DISK("<readonly/>"), "", FS_LOCAL,
	 "False DisksNotLiveMigratable, Unknown DisksNotLiveMigratable", NULL},

	{"PCI device", HOSTDEV("pci", ""), "", FS_LOCAL, "False HostDeviceNotLiveMigratable",
	 "hostdev0"},
	{"PCI device, unplugged", HOSTDEV("pci", TRANSIENT), "", FS_LOCAL, "", NULL},
	{"mdev", HOSTDEV("mdev", ""), "", FS_LOCAL, "False HostDeviceNotLiveMigratable",
	 "type='mdev'"},
	{"SCSI device", HOSTDEV("scsi", ""), "", FS_LOCAL, "False HostDeviceNotLiveMigratable",
	 NULL},
	{"USB device", HOSTDEV("usb", ""), "", FS_LOCAL, "Unknown HostDeviceNotLiveMigratable",
	 "stays on this host"},
	{"bridge", INTERFACE("bridge", ""), "", FS_LOCAL, "", NULL},
	{"passt", INTERFACE("user", "<backend type='passt'/>"), "", FS_LOCAL, "", NULL},
	{"vhost-user", INTERFACE("vhostuser", ""), "", FS_LOCAL, "", NULL},
	{"VF", INTERFACE("hostdev", ""), "", FS_LOCAL, "False InterfaceNotLiveMigratable", "net0"},
	{"VF, unplugged", INTERFACE("hostdev", TRANSIENT), "", FS_LOCAL, "", NULL},
	{"vDPA", INTERFACE("vdpa", ""), "", FS_LOCAL, "False InterfaceNotLiveMigratable", NULL},
	{"macvtap", INTERFACE("direct", "<source dev='eth0' mode='bridge'/>"), "", FS_LOCAL, "",
	 NULL},
	{"macvtap passthrough", INTERFACE("direct", "<source dev='eth0' mode='passthrough'/>"), "",
	 FS_LOCAL, "Unknown InterfaceNotLiveMigratable", "passthrough"},

	{"host-model", "", "<cpu mode='host-model'/>", FS_LOCAL, "", NULL},
	{"host-passthrough", "", "<cpu mode='host-passthrough' migratable='on'/>", FS_LOCAL, "",
	 NULL},
	{"not migratable CPU", "", "<cpu mode='host-passthrough' migratable='off'/>", FS_LOCAL,
	 "False CPUModeLiveMigratable", NULL},
	{"invtsc", "", INVTSC, FS_LOCAL, "False NoTSCFrequencyNotLiveMigratable", "<timer"},
	{"invtsc, frequency", "",
	 INVTSC "<clock><timer name='tsc' frequency='2100000000'/></clock>", FS_LOCAL, "", NULL},
	{"invtsc, disabled", "", "<cpu><feature policy='disable' name='invtsc'/></cpu>", FS_LOCAL,
	 "", NULL},
	{"hyperv", "", "<features><hyperv mode='passthrough'/></features>", FS_LOCAL,
	 "False HypervPassthroughNotLiveMigratable", NULL},
	{"hyperv, custom", "", "<features><hyperv mode='custom'/></features>", FS_LOCAL, "", NULL},
	{"SEV", "", "<launchSecurity type='sev'/>", FS_LOCAL, "False SEVNotLiveMigratable", NULL},
	{"SEV-SNP", "", "<launchSecurity type='sev-snp'/>", FS_LOCAL, "False SEVNotLiveMigratable",
	 NULL},
	{"TDX", "", "<launchSecurity type='tdx'/>", FS_LOCAL, "False TDXNotLiveMigratable", NULL},
	{"s390-pv", "", "<launchSecurity type='s390-pv'/>", FS_LOCAL,
	 "False SecureExecutionNotLiveMigratable", NULL},
	{"all of them, in KubeVirt's order", FILE_DISK("") HOSTDEV("pci", "") INTERFACE("vdpa", ""),
	 "<launchSecurity type='sev'/>", FS_LOCAL,
	 "False InterfaceNotLiveMigratable, False HostDeviceNotLiveMigratable, "
	 "False SEVNotLiveMigratable, False DisksNotLiveMigratable",
	 NULL},
};

ParameterizedTestParameters(domain_conditions, devices)
{
	static size_t index[sizeof(device_rows) / sizeof(*device_rows)];

	for (size_t i = 0; i < sizeof(index) / sizeof(*index); i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, sizeof(index) / sizeof(*index));
}

ParameterizedTest(size_t *index, domain_conditions, devices)
{
	const struct device_row *row = &device_rows[*index];
	struct conditions c = {0};
	struct domain_devices d;
	struct domain_facts f;
	char inside[3000];

	snprintf(inside, sizeof(inside), "%s<devices>%s</devices>", row->others, row->devices);
	read_facts(inside, &f, &d);
	d.shared_directories = row->fs == FS_OVERRIDDEN;
	for (unsigned int i = 0; i < d.disk_count; i++)
		d.disks[i].storage = (struct disk_storage){.known = row->fs != FS_NOT_KNOWN,
							   .shared = row->fs == FS_SHARED,
							   .fs = "ext4"};
	domain_judge_devices(&f, &d, &c);
	cr_assert_str_eq(summary(&c, CONDITION_LIVE_MIGRATABLE), row->expected, "%s: %s", row->name,
			 summary(&c, CONDITION_LIVE_MIGRATABLE));
	cr_assert(!row->words || some_message_has(&c, row->words), "%s", row->name);
	expect_domain_named(&c);
	conditions_destroy(&c);
	domain_devices_destroy(&d);
}

/* ---- state ---- */

Test(domain_conditions, state)
{
	static const struct {
		enum domain_state state;
		bool job;
		const char *expected;
	} rows[] = {
		{DOMAIN_RUNNING, false, ""},
		{DOMAIN_PAUSED_USER, false, ""},
		{DOMAIN_RUNNING, true, "False JobActive"},
		{DOMAIN_SHUT_OFF, false, "False NotRunning"},
		{DOMAIN_ABSENT, false, "False NotRunning"},
		{DOMAIN_INCOMING, true, "False MigrationPending"},
		{DOMAIN_PAUSED_MIGRATION, false, "False MigrationPending"},
		{DOMAIN_PAUSED_POSTCOPY, true, "False MigrationPending"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct domain_info info = {
			.name = "web", .state = rows[i].state, .job = rows[i].job};
		struct conditions c = {0};

		domain_judge_state(&info, &c);
		cr_assert_str_eq(summary(&c, CONDITION_LIVE_MIGRATABLE), rows[i].expected,
				 "row %zu", i);
		expect_domain_named(&c);
		conditions_destroy(&c);
	}
}

/* ---- the direct lane ---- */

#define LOOKED .looked = true, .ram_bytes = 1ull << 30

static const struct lane_row {
	const char *name, *inside;
	struct lane_facts lane;
	const char *expected;
} lane_rows[] = {
	{"ready", SHARED, {LOOKED}, "True Ready"},
	{"shut off", SHARED, {.looked = false}, "Unknown NotChecked"},
	{"private", "", {.looked = true, .ram = "no"}, "False MemoryNotShared"},
	{"private, and found", "", {LOOKED}, "True Strained"},
	{"private, shut off", "", {.looked = false}, "Unknown NotChecked"},
	{"a memfd",
	 "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
	 {LOOKED},
	 "True Strained"},
	{"a private DIMM too",
	 "<devices><memory model='dimm'/></devices>",
	 {.looked = true, .ram = "no"},
	 "False MemoryNotShared"},
	{"all of it explicitly private",
	 "<memoryBacking><access mode='private'/></memoryBacking><devices><memory model='dimm'/>"
	 "</devices>",
	 {.looked = true, .ram = "no"},
	 "False MemoryNotShared, False MemoryNotShared"},
	{"unusable for another reason",
	 SHARED,
	 {.looked = true, .ram = "process 7 has only a part"},
	 "False MemoryNotShared"},
	{"on disk",
	 SHARED,
	 {.looked = true, .ram = "process 7", .ram_on_disk = true},
	 "False MemoryOnDisk"},
	{"a part is missing",
	 SHARED,
	 {.looked = true, .ram_bytes = 1 << 20},
	 "False MemoryNotShared"},
	{"another mapper", SHARED, {LOOKED, .other_mapper = 7}, "False OtherMapper"},
	{"old kernel", SHARED, {LOOKED, .kernel = "domain web: old"}, "False KernelTooOld"},
	{"encrypted", SHARED "<launchSecurity type='sev'/>", {LOOKED}, "False MemoryEncrypted"},
	{"virtiofs",
	 SHARED "<devices><filesystem><driver type='virtiofs'/></filesystem></devices>",
	 {LOOKED, .other_mapper = 7},
	 "False UnseenWriter, False OtherMapper"},
	{"direct disk",
	 SHARED "<devices><disk type='block' device='lun'>" TARGET "</disk></devices>",
	 {LOOKED},
	 "False DiskNeedsMonitor"},
	{"all of them",
	 "<launchSecurity type='sev'/><devices>" HOSTDEV("pci", "")
		 HOSTDEV("scsi", "") "</devices>",
	 {.looked = true, .ram = "no", .kernel = "domain web: old", .other_mapper = 7},
	 "False KernelTooOld, False MemoryEncrypted, False UnseenWriter, False DiskNeedsMonitor, "
	 "False MemoryNotShared, False OtherMapper"},
};

ParameterizedTestParameters(domain_conditions, lane)
{
	static size_t index[sizeof(lane_rows) / sizeof(*lane_rows)];

	for (size_t i = 0; i < sizeof(index) / sizeof(*index); i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, sizeof(index) / sizeof(*index));
}

ParameterizedTest(size_t *index, domain_conditions, lane)
{
	const struct lane_row *row = &lane_rows[*index];
	struct conditions c = {0};
	struct domain_devices d;
	struct domain_facts f;

	read_facts(row->inside, &f, &d);
	domain_judge_lane(&f, &row->lane, &c);
	cr_assert_str_eq(summary(&c, CONDITION_DIRECT_LANE), row->expected, "%s: %s", row->name,
			 summary(&c, CONDITION_DIRECT_LANE));
	cr_assert_str_eq(summary(&c, CONDITION_LIVE_MIGRATABLE), "");
	expect_domain_named(&c);
	conditions_destroy(&c);
	domain_devices_destroy(&d);
}

/* ---- nothing against it ---- */

Test(domain_conditions, an_unknown_takes_the_place_of_true)
{
	struct conditions c = {0};

	domain_judge_live("web", &c);
	cr_assert_str_eq(summary(&c, CONDITION_LIVE_MIGRATABLE), "True Migratable");
	conditions_destroy(&c);
	conditions_add(&c, CONDITION_LIVE_MIGRATABLE, CONDITION_UNKNOWN, "R", "domain web");
	domain_judge_live("web", &c);
	cr_assert_str_eq(summary(&c, CONDITION_LIVE_MIGRATABLE), "Unknown R");
	conditions_destroy(&c);
}

Test(domain_conditions, no_domain)
{
	struct errtext err = {0};
	struct domain_devices d;

	cr_assert_lt(domain_devices_read("<network/>", &d, &err), 0);
	cr_assert_not_null(strstr(err.text, "not a libvirt domain XML"));
	domain_devices_destroy(&d);
}
