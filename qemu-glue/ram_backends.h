// SPDX-License-Identifier: Apache-2.0
// A guest's memory backends, by name and address, as QEMU's own monitor tells them.
//
// RAM in a named file names itself (ram_find.h). Private memory, and a memfd, look alike whatever
// they hold: only QEMU knows which is which. It tells by three questions, each of which QEMU 7.2 to
// 11.1 answers alike:
//
//   query-memdev         the backends: id and size
//   info mtree -f        where in the guest's physical memory each begins; HMP, a text for people:
//                          0000000000100000-00000000bfffffff (prio 0, ram): ram-node0 @00..100000
//   gpa2hva ADDRESS      where in QEMU's own memory that is; HMP likewise:
//                          Host virtual address for 0x100000 (ram-node0) is 0x7f0000100000
//
// A backend that no guest address leads to (a DIMM that was unplugged, memory of a device) is not
// among them. What the texts say is believed only as far as the process's memory map agrees.
#pragma once

#include <stdint.h>
#include "errtext.h"
#include "ram_map.h"

struct json_object;

struct ram_backend {
	char name[RAM_BLOCK_NAME_MAX];
	uint64_t size; /* bytes */
	uint64_t addr; /* where QEMU has it mapped */
};

struct ram_backends {
	unsigned int count;
	struct ram_backend item[RAM_BLOCKS_MAX];
};

/* Has QEMU answer a command of QMP, in JSON ({"execute":..., "arguments":...}); *ret as
 * host_monitor. */
typedef int ram_backends_ask_fn(void *opaque, const char *command, struct json_object **ret,
				struct errtext *err);

/* -EPROTO: an answer cannot be understood. Any thread that may ask. */
int ram_backends_read(ram_backends_ask_fn *ask, void *opaque, struct ram_backends *out,
		      struct errtext *err);
/* The backend that is mapped at this address; NULL: none. */
const struct ram_backend *ram_backends_at(const struct ram_backends *b, uint64_t addr);
/* The first one that lies within [start, end); NULL: none. */
const struct ram_backend *ram_backends_within(const struct ram_backends *b, uint64_t start,
					      uint64_t end);
