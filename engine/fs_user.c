// SPDX-License-Identifier: Apache-2.0
// A thread's user at the file system.
#include "fs_user.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_GROUP 65534

/* setfsuid tells no error: who may not, stays. dray is root. */
uid_t fs_user_become(uid_t uid)
{
	if (uid != 0 && uid != (uid_t)-1)
		setfsgid(NO_GROUP);
	return (uid_t)setfsuid(uid);
}

uid_t fs_user_become_owner(const char *path)
{
	char directory[PATH_MAX];
	struct stat st;
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (!slash)
		return fs_user_become((uid_t)-1);
	slash[slash == directory] = '\0';
	return fs_user_become(stat(directory, &st) == 0 ? st.st_uid : (uid_t)-1);
}

void fs_user_restore(const uid_t *before)
{
	setfsuid(*before);
	setfsgid(getegid());
}
