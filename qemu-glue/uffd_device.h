// SPDX-License-Identifier: Apache-2.0
// /dev/userfaultfd: makes userfaultfds that handle the kernel's faults (KVM's, and of system calls
// into guest memory) for whoever holds it open, privileged or not.
//
// Any thread; no shared state.
#pragma once

#include "errtext.h"

#define UFFD_DEVICE_PATH "/dev/userfaultfd"

/* Open the device at path (UFFD_DEVICE_PATH); where it is missing, as in a container, or masked,
 * through a node of our own that nobody else sees. *fd is the caller's, close-on-exec. -ENOTSUP:
 * the kernel has no such device (Linux 6.1) or we may not have it; the text says which. */
int uffd_device_open(const char *path, int *fd, struct errtext *err);

/* How an unprivileged process can get a userfaultfd for kernel faults here. */
enum kernel_faults {
	KERNEL_FAULTS_NO,
	KERNEL_FAULTS_SYSCTL, /* vm.unprivileged_userfaultfd is 1: by itself */
	KERNEL_FAULTS_DEVICE, /* given the device, which we can open */
	KERNEL_FAULTS_END_
};

enum kernel_faults kernel_faults_probe(void);
/* "no", "sysctl", "device" */
const char *kernel_faults_name(enum kernel_faults by);
