// SPDX-License-Identifier: Apache-2.0
// Directories that dray makes for itself.
#include "directory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PARENT_MODE 0711

static int make_one(const char *path, mode_t mode, struct errtext *err)
{
	if (mkdir(path, mode) < 0) {
		if (errno == EEXIST)
			return 0;
		return errtext_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
	}
	if (chmod(path, mode) < 0)
		return errtext_set(err, -errno, "%s: cannot set its mode: %s", path,
				   strerror(errno));
	return 0;
}

int directory_make(const char *path, mode_t mode, struct errtext *err)
{
	char parent[PATH_MAX];

	if (snprintf(parent, sizeof(parent), "%s", path) >= (int)sizeof(parent))
		return errtext_set(err, -ENAMETOOLONG, "%.64s...: a path of %zu bytes is too long",
				   path, strlen(path));
	for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int ret;

		*slash = '\0';
		ret = make_one(parent, PARENT_MODE, err);
		if (ret < 0)
			return ret;
		*slash = '/';
	}
	return make_one(path, mode, err);
}
