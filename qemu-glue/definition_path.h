// SPDX-License-Identifier: Apache-2.0
// What a path in a definition may lead to, by what the guest would do with it.
//
// A path is judged by where it leads, symbolic links followed; if nothing is there, by where it
// would come to lie.
#pragma once

#include "errtext.h"

enum definition_use {
	DEFINITION_DATA,     /* read and written: a disk, NVRAM, a log */
	DEFINITION_READ,     /* only read: a kernel, firmware */
	DEFINITION_LISTEN,   /* a socket that QEMU makes */
	DEFINITION_CONNECT,  /* a socket that QEMU connects to */
	DEFINITION_EMULATOR, /* run */
	DEFINITION_TERMINAL, /* a pseudo-terminal: libvirt makes a new one */
	DEFINITION_ENTROPY,  /* a source of random numbers */
	DEFINITION_RENDER,   /* a GPU's render node */
	DEFINITION_NETWORK,  /* a device of the kernel's network that every guest uses */
	DEFINITION_DEVICE,   /* a character device of the host's */
	DEFINITION_CEPH,     /* how a Ceph cluster is reached */
	DEFINITION_NONE,     /* it means nothing on this host */
};

/* Any thread. paths as in struct definition_policy. -EPERM, with a text that begins with the path
 * and says why not. */
int definition_path_check(const char *path, enum definition_use use, const char *const *paths,
			  struct errtext *err);
