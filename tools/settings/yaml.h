// SPDX-License-Identifier: Apache-2.0
// YAML and JSON texts with line numbers, document by document: what readers of configuration share.
//
// The tree is libfyaml's; it lives until the next yaml_next or yaml_close. Aliases are not
// resolved, so that a small text stays small: a reader that meets one says so. One thread.
#pragma once

#include <libfyaml.h>
#include <stdbool.h>
#include <stddef.h>
#include "errtext.h"

struct yaml {
	const char *name; /* of the file, for error texts; the caller's */
	struct fy_diag *diag;
	struct fy_parser *parser;
	struct fy_document *document;
};

/* Read a whole file of at most 1 MiB; *text is the caller's to free. -EFBIG, or as read(2). */
int yaml_read_file(const char *path, char **text, size_t *size, struct errtext *err);

/* The text must stay until yaml_close, which is needed after a failure as well. */
int yaml_open(struct yaml *y, const char *name, const char *text, size_t size, struct errtext *err);
void yaml_close(struct yaml *y);
/* The root of the next document; NULL after the last. -EINVAL: malformed. */
int yaml_next(struct yaml *y, struct fy_node **root, struct errtext *err);

/* "NAME:LINE: ..." with the line of at (NULL: no line). Returns -EINVAL. */
int yaml_error(const struct yaml *y, struct fy_node *at, struct errtext *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Counted from 1; of a collection, where its first item is; 0 if unknown. */
unsigned int yaml_line(struct fy_node *node);
/* Absent, `~` or an unquoted null. */
bool yaml_is_null(struct fy_node *node);
/* The text of a scalar; NULL: something else, or it has a NUL inside. Lives as the tree does. */
const char *yaml_text(struct fy_node *node);
/* The value of key in a mapping, or NULL if there is none. -EINVAL: given twice. */
int yaml_lookup(const struct yaml *y, struct fy_node *map, const char *key, struct fy_node **value,
		struct errtext *err);
/* The same for a value that must be a mapping; null counts as none. */
int yaml_lookup_mapping(const struct yaml *y, struct fy_node *map, const char *key,
			struct fy_node **value, struct errtext *err);
