// SPDX-License-Identifier: Apache-2.0
// What dray reads from, and changes in, a libvirt domain's XML.
//
// Stateless; any thread may call. Texts come from libvirt or a user and are taken for hostile:
// -EINVAL with a text for what is no domain XML.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "errtext.h"

#define DOMAIN_XML_MAX (8u << 20) /* bytes */

/* The XML for the destination: a private monitor at monitor_path (absolute, shorter than a UNIX
 * socket address) instead of an older one, with `share` memory that is shared where nothing says
 * how it is, everything else as it was. Why the monitor goes by the XML: added_monitor.h. libvirt
 * takes a changed access mode of memory for no change of the guest. The caller frees the result.
 * NULL on failure, with a text. */
char *domain_xml_for_destination(const char *xml, const char *monitor_path, bool share,
				 struct errtext *err);

/* The XML without our monitor, for the persistent definition. The caller frees the result. */
char *domain_xml_without_monitor(const char *xml, struct errtext *err);

/* Path of the private monitor of this guest, NUL-terminated. -ENOENT: it has none; -ENAMETOOLONG:
 * size is too small; -EINVAL: no domain XML. */
int domain_xml_monitor_path(const char *xml, char *path, size_t size);

enum domain_memory_source {
	DOMAIN_MEMORY_NONE, /* not given: libvirt decides by the access mode */
	DOMAIN_MEMORY_FILE,
	DOMAIN_MEMORY_MEMFD,
	DOMAIN_MEMORY_ANONYMOUS,
};

enum domain_access { DOMAIN_ACCESS_DEFAULT, DOMAIN_ACCESS_PRIVATE, DOMAIN_ACCESS_SHARED };

#define DOMAIN_NAME_MAX                                                                            \
	256 /* with the terminating NUL; longer names are cut, for messages only                   \
	     */
#define DOMAIN_DEVICE_MAX 128

struct domain_facts {
	char name[DOMAIN_NAME_MAX];
	uint64_t memory_bytes;
	enum domain_memory_source source;
	enum domain_access access; /* of <memoryBacking> */
	bool hugepages;
	unsigned int numa_cells;
	unsigned int
		cells_not_shared; /* whose RAM is not shared, by their own or the guest's mode */
	unsigned int dimms;	  /* <memory> devices */
	unsigned int dimms_not_shared;
	/* Cells and devices that say by themselves that they are private; virtio-mem devices. */
	unsigned int own_private, virtio_mem;
	unsigned int disks;
	unsigned int direct_disks;	     /* read straight into guest RAM (O_DIRECT, SG_IO) */
	char direct_disk[DOMAIN_DEVICE_MAX]; /* the first of them: "vda (cache='none')" */
	unsigned int unseen_writers; /* devices that write guest RAM without QEMU's page tables */
	char unseen_writer[DOMAIN_DEVICE_MAX]; /* the first of them, in words */
	char launch_security[32];	       /* "sev", ...; empty: none */
	bool monitor;			       /* has our private monitor */
	/* No part of the XML: its QEMU takes a monitor while it runs (added_monitor.h). For whoever
	 * knows to set. */
	bool adds_monitor;
	/* Memory: it has virtio-mem, free page reporting, or a balloon that is inflated now. */
	bool gives_back;
	bool balloon; /* it has one, which may be inflated any time */
};

int domain_xml_facts(const char *xml, struct domain_facts *f, struct errtext *err);

/* Does QEMU itself send the guest's memory, and can dray strain its stream (strainer.h)? So it is
 * with ordinary memory, which is private, and arrives shared, and with a shared memfd. */
bool domain_is_strained(const struct domain_facts *f);

/* Is the guest, as defined, ready for the direct lane? 0, or -ENOTSUP with a text that names the
 * domain, the reason and the XML to add. Whether libvirt's memory directory is on tmpfs, and
 * who else has the RAM mapped, only the running guest tells: ram_find. */
int domain_ready_for_direct(const struct domain_facts *f, struct errtext *err);

/* Every reason against it, by the name of a condition and in the same words. */
void domain_direct_obstacles(const struct domain_facts *f,
			     void (*found)(void *opaque, const char *reason, const char *text),
			     void *opaque);
