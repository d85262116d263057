// SPDX-License-Identifier: Apache-2.0
// The parts of a domain's XML that can tie a guest to its host: disks, host devices, interfaces,
// CPU.
//
// Stateless; any thread may call. The text is taken for hostile.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include "disk_storage.h"
#include "errtext.h"

#define DOMAIN_DEVICE_NAME_MAX 64 /* with the terminating NUL; longer ones are cut */

enum domain_disk_type {
	DOMAIN_DISK_EMPTY, /* a drive without a medium */
	DOMAIN_DISK_FILE,
	DOMAIN_DISK_BLOCK,
	DOMAIN_DISK_NETWORK,
	DOMAIN_DISK_NVME,
	DOMAIN_DISK_DIR,
	DOMAIN_DISK_OTHER, /* "volume", and what is not known here */
	DOMAIN_DISK_VHOST, /* vhostuser, vhostvdpa: a server's, that both hosts reach or not */
};

struct domain_disk {
	char name[DOMAIN_DEVICE_NAME_MAX]; /* "vda" */
	enum domain_disk_type type;
	char *source; /* owned: file, device or directory; NULL if it has none */
	bool read_only, shareable, transient, reservations;
	struct disk_storage storage; /* of a file; domain_devices_look */
};

/* A <hostdev> or an <interface>. */
struct domain_device {
	char name[DOMAIN_DEVICE_NAME_MAX]; /* alias or target; "" if it has none */
	char type[16];			   /* "pci", "usb", "mdev"; "bridge", "hostdev" */
	char source_mode[16];		   /* of an interface of type direct: "passthrough" */
	bool interface;
	bool unplugged; /* QEMU takes it out before it migrates (<teaming type='transient'>) */
};

struct domain_devices {
	struct domain_disk *disks;     /* owned */
	struct domain_device *devices; /* owned */
	unsigned int disk_count, device_count;
	bool shared_directories; /* qemu.conf names some; domain_devices_look */
	bool cpu_not_migratable; /* <cpu migratable='off'> */
	bool invariant_tsc;	 /* ... is required */
	bool tsc_frequency;	 /* ... is given */
	bool hyperv_passthrough;
};

/* -EINVAL with a text: no domain XML. *d is the caller's: domain_devices_destroy. */
int domain_devices_read(const char *xml, struct domain_devices *d, struct errtext *err);
void domain_devices_destroy(struct domain_devices *d);

/* See which file systems the disks' files are on, as this QEMU process (0: the caller) has them. */
void domain_devices_look(struct domain_devices *d, pid_t qemu);
