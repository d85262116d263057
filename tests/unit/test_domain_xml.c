// SPDX-License-Identifier: Apache-2.0
// What dray reads from, and changes in, a domain's XML.
#include "domain_xml.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
#define SHARED "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"
#define DISK(attr) "<disk type='file'><driver name='qemu' " attr "/><target dev='vda'/></disk>"

static char *domain(const char *attrs, const char *inside)
{
	static char xml[8192];

	snprintf(
		xml, sizeof(xml),
		"<domain type='kvm' %s><name>web &amp; co</name><memory unit='KiB'>1048576</memory>"
		"%s</domain>",
		attrs, inside);
	return xml;
}

static unsigned int occurrences(const char *text, const char *what)
{
	unsigned int count = 0;

	for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
		count++;
	return count;
}

/* ---- the private monitor ---- */

static char *for_destination(const char *xml, const char *path)
{
	struct errtext err = {0};
	char *out = domain_xml_for_destination(xml, path, false, &err);

	cr_assert_not_null(out, "%s", err.text);
	return out;
}

static void expect_path(const char *xml, const char *path)
{
	char found[128] = "";

	cr_assert_eq(domain_xml_monitor_path(xml, found, sizeof(found)), 0);
	cr_assert_str_eq(found, path);
}

Test(domain_xml, adds_a_monitor)
{
	char *out = for_destination(domain("", "<devices/>"), "/run/dray/vm/monitor.sock");

	cr_assert_not_null(strstr(out, "<devices/>"));
	cr_assert_not_null(
		strstr(out, "xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\""));
	cr_assert_not_null(strstr(out, "<qemu:commandline><qemu:arg value=\"-chardev\"/>"
				       "<qemu:arg value=\"socket,id=draymon,path=/run/dray/vm/"
				       "monitor.sock,server=on,wait=off,logfile=/run/dray/vm/"
				       "monitor.sock.log,logappend=on\"/>"
				       "<qemu:arg value=\"-mon\"/><qemu:arg "
				       "value=\"chardev=draymon,mode=control,id=draymon\"/>"
				       "</qemu:commandline>"),
			   "%s", out);
	cr_assert_not_null(strstr(out, "web &amp; co"));
	expect_path(out, "/run/dray/vm/monitor.sock");
	free(out);
}

Test(domain_xml, doubles_commas)
{
	char *out = for_destination(domain("", ""), "/run/a,b,,c<&'\"/m");

	cr_assert_not_null(strstr(out, "path=/run/a,,b,,,,c&lt;&amp;'&quot;/m,server=on"), "%s",
			   out);
	expect_path(out, "/run/a,b,,c<&'\"/m");
	free(out);
}

Test(domain_xml, replaces_an_older_monitor_and_leaves_the_rest)
{
	char *old = for_destination(
		domain(NS, "<qemu:commandline><qemu:arg value='-chardev'/><qemu:arg "
			   "value='socket,id=mine,path=/x,server=on'/>\n  <qemu:arg value='-mon'/>"
			   "<qemu:arg value='chardev=mine'/><qemu:env name='A' value='-chardev'/>"
			   "</qemu:commandline>"),
		"/run/old");
	char *new = for_destination(old, "/run/new");

	cr_assert_eq(occurrences(new, "draymon"), 3);
	cr_assert_eq(occurrences(new, "chardev=mine"), 1);
	cr_assert_eq(occurrences(new, "id=mine"), 1);
	cr_assert_eq(occurrences(new, "<qemu:env"), 1);
	cr_assert_eq(occurrences(new, "<qemu:commandline"), 1);
	cr_assert_eq(occurrences(new, "xmlns:qemu"), 1);
	expect_path(old, "/run/old");
	expect_path(new, "/run/new");
	free(old);
	free(new);
}

Test(domain_xml, uses_whatever_prefix_the_namespace_has)
{
	char *out = for_destination(
		domain("xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' xmlns:qemu='urn:x'",
		       "<qemu:commandline><qemu:arg value='foreign'/></qemu:commandline>"),
		"/run/m");

	cr_assert_eq(occurrences(out, "<q:arg"), 4);
	cr_assert_eq(occurrences(out, "<qemu:arg"), 1);
	free(out);
	out = for_destination(domain("xmlns:qemu='urn:x'", ""), "/run/m");
	expect_path(out, "/run/m");
	free(out);
}

Test(domain_xml, removes_the_monitor)
{
	struct errtext err = {0};
	char path[64];
	char *with = for_destination(domain("", "<devices/>"), "/run/m");
	char *without = domain_xml_without_monitor(with, &err);

	cr_assert_not_null(without, "%s", err.text);
	cr_assert_null(strstr(without, "draymon"));
	cr_assert_null(strstr(without, "commandline"), "an empty one is left: %s", without);
	cr_assert_eq(domain_xml_monitor_path(without, path, sizeof(path)), -ENOENT);
	free(without);
	free(with);
	/* What merely looks like ours. */
	with = domain(NS,
		      "<qemu:commandline><qemu:arg value='-chardev'/><qemu:arg "
		      "value='socket,id=draymonitor,path=/a,,id=draymon'/><qemu:arg value='-mon'/>"
		      "</qemu:commandline>");
	without = domain_xml_without_monitor(with, &err);
	cr_assert_eq(occurrences(without, "<qemu:arg"), 3, "%s", without);
	free(without);
}

Test(domain_xml, monitor_path_errors)
{
	char *xml = for_destination(domain("", ""), "/run/monitor");
	char path[12];

	cr_assert_eq(domain_xml_monitor_path(xml, path, sizeof(path)), -ENAMETOOLONG);
	cr_assert_eq(domain_xml_monitor_path("<domain/>", path, sizeof(path)), -ENOENT);
	cr_assert_eq(domain_xml_monitor_path("<dom", path, sizeof(path)), -EINVAL);
	free(xml);
}

Test(domain_xml, refusals)
{
	char lng[200];
	struct errtext err = {0};
	struct domain_facts f;

	cr_assert_null(domain_xml_for_destination(domain("", ""), "relative", false, &err));
	memset(lng, 'x', sizeof(lng) - 1);
	lng[0] = '/';
	lng[sizeof(lng) - 1] = '\0';
	cr_assert_null(domain_xml_for_destination(domain("", ""), lng, false, NULL));
	cr_assert_null(domain_xml_for_destination("no XML", "/x", false, NULL));
	cr_assert_null(domain_xml_without_monitor("<network/>", NULL));
	cr_assert_eq(domain_xml_facts("", &f, NULL), -EINVAL);
	cr_assert_eq(domain_xml_facts("<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&a;</name>"
				      "</domain>",
				      &f, NULL),
		     -EINVAL);
}

static void expect_shared(const char *inside, const char *backing)
{
	struct errtext err = {0};
	char *out = domain_xml_for_destination(domain("", inside), "/run/m", true, &err);
	struct domain_facts f;

	cr_assert_not_null(out, "%s", err.text);
	cr_assert_not_null(strstr(out, backing), "%s", out);
	cr_assert_eq(domain_xml_facts(out, &f, &err), 0);
	cr_assert_eq(f.access, DOMAIN_ACCESS_SHARED);
	cr_assert_not(domain_is_strained(&f));
	cr_assert_eq(domain_ready_for_direct(&f, &err), 0, "%s", err.text);
	free(out);
}

Test(domain_xml, shares_memory_where_nothing_says_how_it_is)
{
	expect_shared("<devices/>", "<memoryBacking><access mode=\"shared\"/></memoryBacking>");
	expect_shared("<memoryBacking><locked/></memoryBacking>",
		      "<memoryBacking><locked/><access mode=\"shared\"/></memoryBacking>");
	expect_shared("<cpu><numa><cell id='0'/></numa></cpu><devices><memory model='dimm'/>"
		      "</devices>",
		      "<access mode=\"shared\"/>");
}

/* ---- facts and verdict ---- */

static const struct verdict {
	const char *name;
	const char *inside;
	const char *words; /* in the refusal; NULL: ready */
} verdicts[] = {
	{"ordinary", "<devices/>", NULL},
	{"ordinary, explicitly", "<memoryBacking><access mode='private'/></memoryBacking>", SHARED},
	{"ordinary cells", "<cpu><numa><cell id='0'/><cell id='1'/></numa></cpu>", NULL},
	{"ordinary DIMM", "<devices><memory model='dimm'/></devices>", NULL},
	{"ordinary, and virtio-mem", "<devices><memory model='virtio-mem'/></devices>", SHARED},
	{"anonymous", "<memoryBacking><source type='anonymous'/></memoryBacking>",
	 "is private to QEMU"},
	{"shared file", SHARED, NULL},
	{"shared", "<memoryBacking><access mode='shared'/></memoryBacking>", NULL},
	{"private file",
	 "<memoryBacking><source type='file'/><access mode='private'/></memoryBacking>",
	 "is private to QEMU"},
	{"memfd", "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
	 NULL},
	{"private memfd", "<memoryBacking><source type='memfd'/></memoryBacking>", "memfd"},
	{"huge pages", "<memoryBacking><hugepages/></memoryBacking>", NULL},
	{"private huge pages",
	 "<memoryBacking><hugepages/><access mode='private'/></memoryBacking>",
	 "<hugepages/><access mode='shared'/>"},
	{"shared huge pages", "<memoryBacking><hugepages/><access mode='shared'/></memoryBacking>",
	 NULL},
	{"one private cell",
	 SHARED "<cpu><numa><cell id='0' memAccess='private'/><cell id='1'/></numa></cpu>",
	 "1 of 2 NUMA cells"},
	{"shared cells",
	 "<cpu><numa><cell id='0' memAccess='shared'/><cell id='1' "
	 "memAccess='shared'/></numa></cpu>",
	 NULL},
	{"private DIMM", SHARED "<devices><memory model='dimm' access='private'/></devices>",
	 "1 of 1 memory devices"},
	{"DIMM", SHARED "<devices><memory model='dimm'/></devices>", NULL},
	{"cached disk", SHARED "<devices>" DISK("cache='writeback'") "</devices>", NULL},
	{"direct disk", SHARED "<devices>" DISK("cache='none'") "</devices>",
	 "disk vda (cache='none')"},
	{"directsync disk", SHARED "<devices>" DISK("cache='directsync'") "</devices>",
	 "disk vda (cache='directsync')"},
	{"LUN",
	 SHARED "<devices><disk type='block' device='lun'><target dev='sdb'/></disk></devices>",
	 "sdb (device='lun')"},
	{"SCSI generic", SHARED "<devices><hostdev mode='subsystem' type='scsi'/></devices>",
	 "SCSI host device"},
	{"PCI device",
	 SHARED "<devices><hostdev mode='subsystem' type='pci'><alias name='hostdev0'/></hostdev>"
		"</devices>",
	 "a host device (hostdev0)"},
	{"USB device", SHARED "<devices><hostdev mode='subsystem' type='usb'/></devices>", NULL},
	{"VF pool", SHARED "<devices><interface type='hostdev'/></devices>", "host network device"},
	{"vhost-user", SHARED "<devices><interface type='vhostuser'/></devices>", "vhost-user"},
	{"passt",
	 SHARED "<devices><interface type='user'><backend type='passt'/></interface></devices>",
	 NULL},
	{"vhost-user passt",
	 SHARED
	 "<devices><interface type='vhostuser'><backend type='passt'/></interface></devices>",
	 "vhost-user"},
	{"virtiofs", SHARED "<devices><filesystem><driver type='virtiofs'/></filesystem></devices>",
	 "virtiofs"},
	{"9p", SHARED "<devices><filesystem><driver type='path'/></filesystem></devices>", NULL},
	{"SEV", SHARED "<launchSecurity type='sev'/>", "type='sev'"},
};

ParameterizedTestParameters(domain_xml, ready)
{
	static size_t index[sizeof(verdicts) / sizeof(verdicts[0])];

	for (size_t i = 0; i < sizeof(index) / sizeof(index[0]); i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, sizeof(index) / sizeof(index[0]));
}

ParameterizedTest(size_t *index, domain_xml, ready)
{
	const struct verdict *v = &verdicts[*index];
	struct errtext err = {0};
	struct domain_facts f;
	int ret;

	cr_assert_eq(domain_xml_facts(domain("", v->inside), &f, &err), 0, "%s", err.text);
	ret = domain_ready_for_direct(&f, &err);
	if (!v->words) {
		cr_assert_eq(ret, 0, "%s: %s", v->name, err.text);
		return;
	}
	cr_assert_eq(ret, -ENOTSUP, "%s", v->name);
	cr_assert_not_null(strstr(err.text, v->words), "%s: %s", v->name, err.text);
	cr_assert_not_null(strstr(err.text, "domain web & co"), "%s: %s", v->name, err.text);
}

Test(domain_xml, direct_disk_with_a_monitor_is_ready)
{
	struct errtext err = {0};
	struct domain_facts f;
	char *xml = for_destination(
		domain("", SHARED "<devices>" DISK("cache='none'") "</devices>"), "/run/m");

	cr_assert_eq(domain_xml_facts(xml, &f, &err), 0, "%s", err.text);
	cr_assert(f.monitor);
	cr_assert_eq(f.direct_disks, 1);
	cr_assert_eq(domain_ready_for_direct(&f, &err), 0, "%s", err.text);
	free(xml);
}

static void note_reason(void *opaque, const char *reason, const char *text)
{
	strcat(opaque, reason);
	strcat(opaque, " ");
	cr_assert_not_null(strstr(text, "domain web & co"), "%s", text);
}

Test(domain_xml, every_obstacle_is_told)
{
	struct domain_facts f;
	char reasons[256] = "";

	cr_assert_eq(domain_xml_facts(
			     domain("", "<launchSecurity type='sev'/><memoryBacking>"
					"<access mode='private'/></memoryBacking><devices><shmem/>"
					"<memory model='dimm'/>" DISK("cache='none'") "</devices>"),
			     &f, NULL),
		     0);
	domain_direct_obstacles(&f, note_reason, reasons);
	cr_assert_str_eq(reasons, "MemoryEncrypted UnseenWriter MemoryNotShared MemoryNotShared "
				  "DiskNeedsMonitor ");
	reasons[0] = '\0';
	cr_assert_eq(domain_xml_facts(domain("", SHARED), &f, NULL), 0);
	domain_direct_obstacles(&f, note_reason, reasons);
	cr_assert_str_eq(reasons, "");
}

#define CURRENT(kib) "<currentMemory unit='KiB'>" kib "</currentMemory>"

Test(domain_xml, who_can_give_memory_back)
{
	static const struct {
		const char *current, *devices;
		bool gives_back, balloon;
	} rows[] = {
		{"", "", false, false},
		{"", "<memballoon model='none'/><memory model='dimm'/>", false, false},
		{"", "<memballoon model='virtio'/>", false, true},
		{CURRENT("1048576"), "<memballoon model='virtio-non-transitional'/>", false, true},
		{CURRENT("1048575"), "<memballoon model='virtio'/>", true, true},
		{CURRENT("524288"), "<memballoon model='none'/>", false, false},
		{"", "<memballoon model='virtio' freePageReporting='off'/>", false, true},
		{"", "<memballoon model='virtio' freePageReporting='on'/>", true, true},
		{"", "<memballoon model='none'/><memory model='virtio-mem'/>", true, false},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct domain_facts f;
		char devices[256];

		snprintf(devices, sizeof(devices), "%s<devices>%s</devices>", rows[i].current,
			 rows[i].devices);
		cr_assert_eq(domain_xml_facts(domain("", devices), &f, NULL), 0);
		cr_expect_eq(f.gives_back, rows[i].gives_back, "%s", devices);
		cr_expect_eq(f.balloon, rows[i].balloon, "%s", devices);
	}
}

Test(domain_xml, facts)
{
	struct errtext err = {0};
	struct domain_facts f;

	cr_assert_eq(
		domain_xml_facts(domain("", "<memoryBacking><hugepages/></memoryBacking><devices>"
					    "<disk/><disk/><hostdev/><shmem/></devices>"),
				 &f, &err),
		0, "%s", err.text);
	cr_assert_str_eq(f.name, "web & co");
	cr_assert_eq(f.memory_bytes, 1ull << 30);
	cr_assert(f.hugepages);
	cr_assert_eq(f.disks, 2);
	cr_assert_eq(f.direct_disks, 0);
	cr_assert_eq(f.unseen_writers, 2);
	cr_assert(!f.monitor);
	cr_assert_eq(domain_xml_facts("<domain><memory unit='GiB'>3</memory></domain>", &f, &err),
		     0);
	cr_assert_eq(f.memory_bytes, 3ull << 30);
	cr_assert_eq(domain_xml_facts("<domain><memory unit='TiB'>99999999999999</memory></domain>",
				      &f, &err),
		     0);
	cr_assert_eq(f.memory_bytes, UINT64_MAX);
}
