// SPDX-License-Identifier: Apache-2.0
// Judgement: from facts about a guest to the conditions that speak for or against migrating it.
//
// Pure; any thread may call. Every reason that is found becomes a condition of its own, so a user
// can mend all of them before trying again. Reasons of type LiveMigratable have KubeVirt's names
// where KubeVirt has one. Messages name the domain, what is wrong, and the way out.
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include "conditions.h"
#include "domain_devices.h"
#include "domain_xml.h"
#include "host.h"

#define CONDITION_LIVE_MIGRATABLE "LiveMigratable"
#define CONDITION_DIRECT_LANE "DirectLane"
#define CONDITION_DESTINATION "Destination"

/* What the running guest tells about its RAM. Texts may be NULL: nothing wrong. */
struct lane_facts {
	const char *kernel; /* why this kernel cannot track */
	const char *uring;  /* why io_uring cannot be used */
	const char *ram;    /* why its RAM cannot be used */
	bool ram_on_disk;   /* ... which is that */
	uint64_t ram_bytes; /* found in shared named files; only if looked and ram is NULL */
	pid_t other_mapper; /* 0: none */
	bool looked;	    /* into the process at all */
};

/* What libvirt says it is doing. */
void domain_judge_state(const struct domain_info *info, struct conditions *out);
/* What QEMU and libvirt would refuse it for. */
void domain_judge_blockers(const char *domain, const struct domain_blockers *blockers,
			   struct conditions *out);
/* Its definition and its disks' files. */
void domain_judge_devices(const struct domain_facts *f, const struct domain_devices *d,
			  struct conditions *out);
/* After those two: LiveMigratable True if nothing spoke against it. */
void domain_judge_live(const char *domain, struct conditions *out);
/* The direct lane: every reason against it, or that it is ready, or that this cannot be told. */
void domain_judge_lane(const struct domain_facts *f, const struct lane_facts *lane,
		       struct conditions *out);
