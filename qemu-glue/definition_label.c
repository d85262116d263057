// SPDX-License-Identifier: Apache-2.0
// Whom a DAC label names.
#include "definition_label.h"

#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_ 64
#define ENTRY_SIZE 4096

/* A number is one after a plus, or where no name is that. */
static bool number(const char *text, uint32_t *id)
{
	char *end;
	unsigned long n = strtoul(text + (*text == '+'), &end, 10);

	*id = (uint32_t)n;
	return *text && end != text && !*end && n < UINT32_MAX;
}

static bool is_user(const char *text, uid_t uid)
{
	char buf[ENTRY_SIZE];
	struct passwd entry, *found = NULL;
	uint32_t id;

	if (*text != '+' && getpwnam_r(text, &entry, buf, sizeof(buf), &found) == 0 && found)
		return found->pw_uid == uid;
	return number(text, &id) && id == uid;
}

static bool is_group(const char *text, gid_t gid)
{
	char buf[ENTRY_SIZE];
	struct group entry, *found = NULL;
	uint32_t id;

	if (*text != '+' && getgrnam_r(text, &entry, buf, sizeof(buf), &found) == 0 && found)
		return found->gr_gid == gid;
	return number(text, &id) && id == gid;
}

bool definition_label_is(const char *label, uid_t uid, gid_t gid)
{
	char user[NAME_MAX_];
	const char *group = strchr(label, ':');
	size_t len = group ? (size_t)(group - label) : strlen(label);

	if (len >= sizeof(user))
		return false;
	memcpy(user, label, len);
	user[len] = '\0';
	return is_user(user, uid) && (!group || is_group(group + 1, gid));
}
