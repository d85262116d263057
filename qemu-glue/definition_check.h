// SPDX-License-Identifier: Apache-2.0
// May this definition be started here, as another host asks for?
//
// libvirt starts what it is given: a definition can name any file, device or script of this host,
// and libvirt opens it, or hands it to QEMU's user, as root. Another host, even a genuine one, is
// here to bring one guest, so what it sends is looked through first:
//
//   - the guest is the one that the migration is about;
//   - every path stands where dray knows what libvirt does with it, and leads to something that
//     guests may have (definition_path.h). A path anywhere else is refused: what a newer libvirt
//     may do with it is not known here;
//   - nothing reaches for the host itself: devices, directories, scripts, arguments of QEMU's,
//     a confinement of the guest's own choice. Some of that an operator can agree to.
//
// What this cannot do: tell one guest's disk from another's (--allow-path narrows that), see what a
// disk image refers to (backing files), or keep what a path leads to from changing afterwards.
//
// Stateless; any thread; reads the file system.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "errtext.h"

/* What an operator may agree to: `dray receive --allow`. */
enum definition_agreed {
	DEFINITION_QEMU_ARGUMENTS = 1 << 0, /* <qemu:commandline>, <qemu:override>, ... */
	DEFINITION_HOST_DEVICES = 1 << 1,
	DEFINITION_FILE_SYSTEMS = 1 << 2, /* directories, and memory shared with others */
};

/* By its name there; 0: there is none of that name. */
unsigned int definition_agreed(const char *name);

struct definition_policy {
	const char *uuid; /* the guest's, as libvirt writes it */
	const char *name;
	const char *monitor_path; /* of dray's own monitor, which may be there; NULL: none may */
	/* NULL-terminated; what guests have must lie beneath one of them. NULL: anywhere that is
	 * not the system's own. */
	const char *const *paths;
	unsigned int agreed; /* bits of definition_agreed */
	/* Its paths are those of a container, whose libvirt and QEMU are no more than its user:
	 * where they lead is the container's affair, and cannot be seen from here. */
	bool contained;
	/* QEMU's user here: a label may name no other. */
	uid_t uid;
	gid_t gid;
};

/* -EPERM, with a text that names the guest, what is wrong with it and what an operator can do;
 * -EINVAL: it is no domain XML. */
int definition_check(const char *xml, const struct definition_policy *policy, struct errtext *err);
/* The same for what libvirt's daemons tell each other: it may hold another definition. */
int definition_check_cookie(const char *cookie, const struct definition_policy *policy,
			    struct errtext *err);
