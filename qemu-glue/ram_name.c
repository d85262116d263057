// SPDX-License-Identifier: Apache-2.0
// The name of guest RAM that is in a file.
#include "ram_name.h"

#include <errno.h>
#include <string.h>

int ram_name(const char *path, bool unlinked, char name[RAM_BLOCK_NAME_MAX])
{
	static const char deleted[] = " (deleted)", made[] = "qemu_back_mem.",
			  object[] = "_objects_";
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	size_t len = strlen(base);

	if (unlinked && len > strlen(deleted) && !strcmp(base + len - strlen(deleted), deleted))
		len -= strlen(deleted);
	if (!strncmp(base, made, strlen(made)) && len > strlen(made) + 7 && base[len - 7] == '.') {
		base += strlen(made);
		len -= strlen(made) + 7;
		if (len > strlen(object) && !strncmp(base, object, strlen(object))) {
			base += strlen(object);
			len -= strlen(object);
		}
	}
	if (len == 0 || len >= RAM_BLOCK_NAME_MAX)
		return -EINVAL;
	memcpy(name, base, len);
	name[len] = '\0';
	return 0;
}
