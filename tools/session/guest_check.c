// SPDX-License-Identifier: Apache-2.0
// Can this guest be migrated, and if not, why not: gathers the facts and has them judged.
//
// Gathering goes as far as it can, so that all reasons are found at once: a guest that is shut off
// still has disks to judge, one with private memory still has interfaces. Only its memory cannot be
// looked at while it is shut off, or while a job closes libvirt's monitor, by which QEMU's process
// is found.
#include "guest_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "added_monitor.h"
#include "cleanup.h"
#include "domain_conditions.h"
#include "domain_devices.h"
#include "ram_find.h"
#include "tracker.h"
#include "uring_stream.h"

int guest_check_process(struct errtext *err)
{
	int ret;

	if (geteuid() != 0)
		return errtext_set(err, -EPERM,
				   "dray must run as root: it reads the memory of QEMU, which runs "
				   "as another user; try sudo");
	ret = tracker_supported(err);
	return ret < 0 ? ret : uring_stream_supported(err);
}

/* ---- gathering ---- */

/* The user whose daemon it is says in its XML what the monitor is called: nothing but what is that
 * user's own is opened. */
static int keep_own_monitor(struct host *host, struct guest_facts *facts, struct errtext *err)
{
	char sockets[HOST_SOCKETS_SIZE];
	size_t len;
	int ret = host_qemu_sockets(host, sockets, err);

	len = ret == 0 ? strlen(sockets) : 0;
	if (!len ||
	    (strncmp(facts->monitor_path, sockets, len) == 0 && facts->monitor_path[len] == '/' &&
	     !strchr(facts->monitor_path + len + 1, '/')))
		return ret;
	facts->monitor_path[0] = 0;
	facts->xml.monitor = false;
	return 0;
}

static int read_xml(struct host *host, struct guest_facts *facts, struct domain_devices *devices,
		    struct errtext *err)
{
	_cleanup_free_ char *xml = NULL;
	int ret = host_domain_xml(host, facts->info.uuid, false, &xml, err);

	if (ret == 0)
		ret = domain_xml_facts(xml, &facts->xml, err);
	if (ret == 0)
		ret = domain_devices_read(xml, devices, err);
	if (ret == 0 &&
	    domain_xml_monitor_path(xml, facts->monitor_path, sizeof(facts->monitor_path)) < 0)
		facts->monitor_path[0] = 0;
	return ret < 0 ? ret : keep_own_monitor(host, facts, err);
}

static bool ram_is_on_disk(pid_t qemu)
{
	struct ram_find_report report;
	const struct ram_find_item *item = NULL;

	if (ram_find_survey(qemu, &report, NULL) == 0)
		item = ram_find_obstacle(&report);
	return item && item->why == RAM_UNUSABLE_DISK;
}

/* *unfit is filled if the RAM cannot be used; err if it could not be found out. */
static int look_at_ram(struct guest_facts *facts, struct lane_facts *lane, struct errtext *unfit,
		       struct errtext *err)
{
	const struct ram_backends *known =
		domain_is_strained(&facts->xml) ? &facts->backends : NULL;
	int ret = ram_find_known(facts->qemu, false, known, &facts->ram, unfit);

	lane->looked = true;
	if (ret == -ENOTSUP) {
		lane->ram = unfit->text;
		lane->ram_on_disk = ram_is_on_disk(facts->qemu);
		return 0;
	}
	if (ret < 0)
		return errtext_set(err, ret, "%s", unfit->text);
	lane->ram_bytes = ram_map_bytes(&facts->ram);
	return ram_other_mappers(&facts->ram, facts->qemu, getpid(), &lane->other_mapper, err);
}

struct asked {
	struct host *host;
	const char *uuid;
};

static int ask_host(void *opaque, const char *command, struct json_object **ret,
		    struct errtext *err)
{
	const struct asked *asked = opaque;

	return host_monitor(asked->host, asked->uuid, command, ret, err);
}

/* What only QEMU's monitor tells. */
static int ask_monitor(struct host *host, struct guest_facts *facts,
		       struct domain_blockers *blockers, struct errtext *err)
{
	struct asked asked = {host, facts->info.uuid};
	int ret = host_qemu_pid(host, facts->info.uuid, &facts->qemu, err);

	if (ret == 0 && domain_is_strained(&facts->xml))
		ret = ram_backends_read(ask_host, &asked, &facts->backends, err);
	if (ret == 0)
		ret = host_blockers(host, facts->info.uuid, blockers, err);
	if (ret == 0)
		ret = added_monitor_is_possible(host, facts->info.uuid, &facts->adds_monitor, err);
	return ret;
}

/* The process is known already if facts->qemu is set: then the monitor is not asked. */
static int look(struct host *host, struct guest_facts *facts, struct errtext *err)
{
	struct conditions *c = &facts->conditions;
	_cleanup_(domain_devices_destroy) struct domain_devices devices = {0};
	struct errtext kernel = {0}, uring = {0}, unfit = {0};
	struct domain_blockers blockers = {0};
	struct lane_facts lane = {0};
	bool running = conditions_count(c, NULL, CONDITION_FALSE) == 0;
	int ret = read_xml(host, facts, &devices, err);

	if (ret == 0 && running && !facts->qemu)
		ret = ask_monitor(host, facts, &blockers, err);
	if (ret < 0)
		return ret;
	facts->xml.adds_monitor = facts->adds_monitor;
	domain_devices_look(&devices, facts->qemu);
	domain_judge_devices(&facts->xml, &devices, c);
	domain_judge_blockers(facts->info.name, &blockers, c);
	domain_judge_live(facts->info.name, c);
	if (tracker_supported(&kernel) < 0)
		lane.kernel = kernel.text;
	if (uring_stream_supported(&uring) < 0)
		lane.uring = uring.text;
	if (running)
		ret = look_at_ram(facts, &lane, &unfit, err);
	if (ret == 0)
		domain_judge_lane(&facts->xml, &lane, c);
	return ret;
}

/* ---- the verdict ---- */

static int verdict(const struct guest_facts *facts, struct errtext *err)
{
	const struct conditions *c = &facts->conditions;
	unsigned int count = conditions_count(c, NULL, CONDITION_FALSE);
	const struct condition *first =
		conditions_first(c, CONDITION_LIVE_MIGRATABLE, CONDITION_FALSE);

	if (c->incomplete)
		return errtext_set(err, -ENOMEM, "out of memory");
	if (!count)
		return 0;
	if (!first)
		first = conditions_first(c, NULL, CONDITION_FALSE);
	if (count == 1)
		return errtext_set(err, -ENOTSUP, "%s: %s", first->reason, first->message);
	return errtext_set(err, -ENOTSUP, "%s (and %u more: dray check %s): %s", first->reason,
			   count - 1, facts->info.name, first->message);
}

int guest_check(struct host *host, const char *domain, struct guest_facts *facts,
		struct errtext *err)
{
	int ret;

	*facts = (struct guest_facts){0};
	ret = host_find(host, domain, &facts->info, err);
	if (ret == 0) {
		domain_judge_state(&facts->info, &facts->conditions);
		ret = look(host, facts, err);
	}
	return ret < 0 ? ret : verdict(facts, err);
}

int guest_check_locked(struct host *host, const char *uuid, pid_t qemu, bool adds_monitor,
		       const struct ram_backends *backends, struct guest_facts *facts,
		       struct errtext *err)
{
	int ret;

	*facts = (struct guest_facts){
		.qemu = qemu, .adds_monitor = adds_monitor, .backends = *backends};
	ret = host_state(host, uuid, &facts->info, err);
	if (ret == 0)
		ret = look(host, facts, err);
	return ret < 0 ? ret : verdict(facts, err);
}

void guest_facts_destroy(struct guest_facts *facts)
{
	ram_map_destroy(&facts->ram);
	conditions_destroy(&facts->conditions);
}
