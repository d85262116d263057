// SPDX-License-Identifier: Apache-2.0
// A label of libvirt's DAC security model: user and group, by name or, after a plus, by number.
//
// Any thread; reads the host's users.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Does it say this user and this group, or this user alone? */
bool definition_label_is(const char *label, uid_t uid, gid_t gid);
