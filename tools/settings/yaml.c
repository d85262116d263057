// SPDX-License-Identifier: Apache-2.0
// YAML and JSON by libfyaml, its complaints turned into error texts.
#include "yaml.h"

#include <errno.h>
#include <libxml/xmlstring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"

#define FILE_SIZE_MAX ((size_t)1 << 20)

int yaml_read_file(const char *path, char **text, size_t *size, struct errtext *err)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *buffer = malloc(FILE_SIZE_MAX + 1);

	if (!f)
		return errtext_set(err, -errno, "%s: cannot be opened: %m", path);
	if (!buffer)
		return errtext_set(err, -ENOMEM, "%s: no memory to read it", path);
	errno = 0;
	*size = fread(buffer, 1, FILE_SIZE_MAX + 1, f);
	if (ferror(f)) {
		int code = errno ? -errno : -EIO;

		return errtext_set(err, code, "%s: cannot be read: %s", path, strerror(-code));
	}
	if (*size > FILE_SIZE_MAX)
		return errtext_set(err, -EFBIG,
				   "%s: larger than 1 MiB, so surely not what was meant", path);
	*text = steal_ptr(&buffer);
	return 0;
}

static bool is_json(const char *text, size_t size)
{
	size_t blank = 0;

	while (blank < size && strchr(" \t\r\n", text[blank]))
		blank++;
	return blank < size && (text[blank] == '{' || text[blank] == '[');
}

static const char *why_not(unsigned char c, bool begins, bool json)
{
	if (begins && c == '%')
		return "a line that begins with '%', a YAML directive: leave it out";
	if (c == '\t' && !json)
		return "a tab: YAML is indented by blanks";
	if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
		return "a control character: YAML and JSON have none";
	return NULL;
}

/* Two traps of libfyaml 0.7: some broken directives keep it busy for ever, and a tab behind the
 * colon of an explicit key makes it free memory twice. */
static int check_characters(const char *name, const char *text, size_t size, struct errtext *err)
{
	static const char bom[] = "\xef\xbb\xbf";
	unsigned int line = 1;
	bool begins = true, json;

	if (size >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0) {
		text += strlen(bom);
		size -= strlen(bom);
	}
	json = is_json(text, size);
	for (size_t i = 0; i < size; i++) {
		const char *why;

		json &= !(begins && (text[i] == '-' || text[i] == '.')); /* a document ends */
		why = why_not((unsigned char)text[i], begins, json);
		if (why)
			return errtext_set(err, -EINVAL, "%s:%u: %s", name, line, why);
		begins = text[i] == '\n' || text[i] == '\r';
		line += text[i] == '\n';
	}
	return 0;
}

/* libfyaml ends the text at the first byte that is not UTF-8, without a word. */
static int check_encoding(const char *name, const char *text, size_t size, struct errtext *err)
{
	_cleanup_free_ char *copy = strndup(text, size);

	if (!copy)
		return errtext_set(err, -ENOMEM, "%s: no memory to parse it", name);
	if (!xmlCheckUTF8((const unsigned char *)copy))
		return errtext_set(err, -EINVAL, "%s: not UTF-8: save it in that encoding", name);
	return 0;
}

static void discard(struct fy_diag *diag, void *user, const char *text, size_t size)
{
	(void)diag;
	(void)user;
	(void)text;
	(void)size;
}

int yaml_open(struct yaml *y, const char *name, const char *text, size_t size, struct errtext *err)
{
	struct fy_parse_cfg parse = {.flags = FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS};
	struct fy_diag_cfg diag;
	int ret;

	*y = (struct yaml){.name = name};
	ret = check_characters(name, text, size, err);
	if (ret == 0)
		ret = check_encoding(name, text, size, err);
	if (ret)
		return ret;
	fy_diag_cfg_default(&diag);
	diag.fp = NULL;
	diag.output_fn = discard;
	y->diag = fy_diag_create(&diag);
	if (y->diag) {
		fy_diag_set_collect_errors(y->diag, true);
		parse.diag = y->diag;
		y->parser = fy_parser_create(&parse);
	}
	if (!y->parser || fy_parser_set_string(y->parser, text, size) < 0)
		return errtext_set(err, -ENOMEM, "%s: no memory to parse it", name);
	return 0;
}

static void drop_document(struct yaml *y)
{
	if (y->document)
		fy_parse_document_destroy(y->parser, y->document);
	y->document = NULL;
}

void yaml_close(struct yaml *y)
{
	drop_document(y);
	if (y->parser)
		fy_parser_destroy(y->parser);
	if (y->diag)
		fy_diag_destroy(y->diag);
	*y = (struct yaml){0};
}

static int malformed(const struct yaml *y, struct errtext *err)
{
	void *position = NULL;
	const struct fy_diag_error *e = fy_diag_errors_iterate(y->diag, &position);

	if (!e)
		return errtext_set(err, -EINVAL, "%s: neither YAML nor JSON", y->name);
	return errtext_set(err, -EINVAL, "%s:%d: neither YAML nor JSON: column %d: %s", y->name,
			   e->line, e->column, e->msg);
}

int yaml_next(struct yaml *y, struct fy_node **root, struct errtext *err)
{
	*root = NULL;
	do {
		drop_document(y);
		y->document = fy_parse_load_document(y->parser);
		if (!y->document)
			return fy_parser_get_stream_error(y->parser) || fy_diag_got_error(y->diag)
				       ? malformed(y, err)
				       : 0;
		*root = fy_document_root(y->document);
	} while (!*root);
	return 0;
}

unsigned int yaml_line(struct fy_node *node)
{
	const struct fy_mark *mark;
	void *position = NULL;

	while (node && !fy_node_is_scalar(node)) {
		position = NULL;
		node = fy_node_is_mapping(node)
			       ? fy_node_pair_key(fy_node_mapping_iterate(node, &position))
			       : fy_node_sequence_iterate(node, &position);
	}
	mark = node ? fy_token_start_mark(fy_node_get_scalar_token(node)) : NULL;
	return mark ? (unsigned int)mark->line + 1 : 0;
}

int yaml_error(const struct yaml *y, struct fy_node *at, struct errtext *err, const char *fmt, ...)
{
	char text[ERRTEXT_SIZE];
	unsigned int line = yaml_line(at);
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (line)
		return errtext_set(err, -EINVAL, "%s:%u: %s", y->name, line, text);
	return errtext_set(err, -EINVAL, "%s: %s", y->name, text);
}

bool yaml_is_null(struct fy_node *node)
{
	const char *text;

	if (!node || fy_node_is_null(node))
		return true;
	if (!fy_node_is_scalar(node) || fy_node_get_style(node) != FYNS_PLAIN)
		return false;
	text = yaml_text(node);
	return text && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
			strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0 || !*text);
}

const char *yaml_text(struct fy_node *node)
{
	const char *text;

	if (!node || !fy_node_is_scalar(node) || fy_node_is_alias(node))
		return NULL;
	text = fy_node_get_scalar0(node);
	return text && strlen(text) == fy_node_get_scalar_length(node) ? text : NULL;
}

static int find_pair(const struct yaml *y, struct fy_node *map, const char *key,
		     struct fy_node_pair **found, struct errtext *err)
{
	struct fy_node_pair *pair;
	void *position = NULL;

	*found = NULL;
	while ((pair = fy_node_mapping_iterate(map, &position))) {
		const char *text = yaml_text(fy_node_pair_key(pair));

		if (!text || strcmp(text, key) != 0)
			continue;
		if (*found)
			return yaml_error(y, fy_node_pair_key(pair), err,
					  "%s is given twice: leave one", key);
		*found = pair;
	}
	return 0;
}

int yaml_lookup(const struct yaml *y, struct fy_node *map, const char *key, struct fy_node **value,
		struct errtext *err)
{
	struct fy_node_pair *pair;
	int ret = find_pair(y, map, key, &pair, err);

	*value = ret == 0 && pair ? fy_node_pair_value(pair) : NULL;
	return ret;
}

int yaml_lookup_mapping(const struct yaml *y, struct fy_node *map, const char *key,
			struct fy_node **value, struct errtext *err)
{
	struct fy_node_pair *pair;
	int ret = find_pair(y, map, key, &pair, err);

	*value = ret == 0 && pair ? fy_node_pair_value(pair) : NULL;
	if (yaml_is_null(*value))
		*value = NULL;
	if (*value && !fy_node_is_mapping(*value))
		return yaml_error(y, fy_node_pair_key(pair), err,
				  "%s: a mapping of keys to values is needed", key);
	return ret;
}
