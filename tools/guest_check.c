// SPDX-License-Identifier: Apache-2.0
// Can this guest be migrated, and if not, why not.
#include "guest_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "ram_find.h"
#include "tracker.h"

int guest_check_process(struct errtext *err)
{
	if (geteuid() != 0)
		return errtext_set(err, -EPERM,
				   "dray must run as root: it reads the memory of QEMU, which runs "
				   "as another user; try sudo");
	return tracker_supported(err);
}

static int check_state(const struct domain_info *info, struct errtext *err)
{
	switch (info->state) {
	case DOMAIN_RUNNING:
	case DOMAIN_PAUSED_USER:
		break;
	case DOMAIN_ABSENT:
	case DOMAIN_SHUT_OFF:
		return errtext_set(err, -EINVAL,
				   "domain %s is shut off, there is no memory to move: start it "
				   "(`virsh start %s`), or move its definition",
				   info->name, info->name);
	case DOMAIN_INCOMING:
		return errtext_set(err, -EBUSY,
				   "domain %s is just being migrated to this host: wait until it "
				   "has arrived",
				   info->name);
	case DOMAIN_PAUSED_MIGRATION:
	case DOMAIN_PAUSED_POSTCOPY:
		return errtext_set(err, -EBUSY,
				   "domain %s was left paused by an earlier migration: run `dray "
				   "recover %s` first",
				   info->name, info->name);
	}
	if (info->job)
		return errtext_set(err, -EBUSY,
				   "domain %s has another job under way (`virsh domjobinfo %s`): "
				   "wait for it, or abort it",
				   info->name, info->name);
	return 0;
}

static int check_xml(struct host *host, struct guest_facts *facts, struct errtext *err)
{
	_cleanup_free_ char *xml = NULL;
	int ret = host_domain_xml(host, facts->info.uuid, false, &xml, err);

	if (ret == 0)
		ret = domain_xml_facts(xml, &facts->xml, err);
	if (ret == 0 &&
	    domain_xml_monitor_path(xml, facts->monitor_path, sizeof(facts->monitor_path)) < 0)
		facts->monitor_path[0] = 0;
	if (ret == 0)
		ret = domain_ready_for_direct(&facts->xml, err);
	return ret;
}

static int check_ram(struct host *host, struct guest_facts *facts, struct errtext *err)
{
	pid_t other;
	int ret = host_qemu_pid(host, facts->info.uuid, &facts->qemu, err);

	if (ret == 0)
		ret = ram_find(facts->qemu, false, &facts->ram, err);
	if (ret == 0 && ram_map_bytes(&facts->ram) < facts->xml.memory_bytes)
		ret = errtext_set(err, -ENOTSUP,
				  "domain %s has %llu MiB of memory, but only %llu MiB of it in "
				  "shared named files: every NUMA cell and memory device needs "
				  "shared access",
				  facts->info.name,
				  (unsigned long long)facts->xml.memory_bytes >> 20,
				  (unsigned long long)ram_map_bytes(&facts->ram) >> 20);
	if (ret == 0)
		ret = ram_other_mappers(&facts->ram, facts->qemu, getpid(), &other, err);
	if (ret == 0 && other)
		ret = errtext_set(err, -ENOTSUP,
				  "domain %s: process %d has the guest's memory mapped too (a "
				  "vhost-user backend?) and could write it unseen: such a guest "
				  "cannot take the direct lane",
				  facts->info.name, other);
	return ret;
}

int guest_check(struct host *host, const char *domain, struct guest_facts *facts,
		struct errtext *err)
{
	int ret;

	*facts = (struct guest_facts){0};
	ret = host_find(host, domain, &facts->info, err);
	if (ret == 0)
		ret = check_state(&facts->info, err);
	if (ret == 0)
		ret = check_xml(host, facts, err);
	if (ret == 0)
		ret = check_ram(host, facts, err);
	return ret;
}

void guest_facts_destroy(struct guest_facts *facts)
{
	ram_map_destroy(&facts->ram);
}
