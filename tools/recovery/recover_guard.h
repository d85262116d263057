// SPDX-License-Identifier: Apache-2.0
// What the guard process does once its dray was killed (guard.h starts it).
#pragma once

#include "recover.h"

/* recover_run, again and again for as long as this host may hold memory that the guest lacks, or
 * has to fetch it, or libvirt here does not let be done what is to be done; and until a guest that
 * was not handed over has back what was borrowed from its QEMU. Failures go to syslog. Returns as
 * recover_run does in the end.
 *
 * connection: that of the migration's client to libvirt, which dray has lent, or -1; taken over. If
 * the guest was handed over in post-copy, and its memory is in QEMU here alone, it keeps libvirt
 * from letting QEMU run (recover_qemu.c). */
int recover_guard(const struct recover_options *options, int connection);
