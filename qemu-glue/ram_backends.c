// SPDX-License-Identifier: Apache-2.0
// A guest's memory backends, by name and address, as QEMU's own monitor tells them.
#include "ram_backends.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup_json.h"

#define OBJECTS "/objects/" /* before the name, with older machine types */
#define IS_RAM ", ram): "

struct question {
	ram_backends_ask_fn *ask;
	void *opaque;
	struct errtext *err;
};

static int ask_for_text(const struct question *q, const char *hmp, json_object **answer)
{
	char command[160];
	int ret;

	snprintf(command, sizeof(command),
		 "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}",
		 hmp);
	ret = q->ask(q->opaque, command, answer, q->err);
	if (ret == 0 && !json_object_is_type(*answer, json_type_string))
		ret = errtext_set(q->err, -EPROTO, "QEMU's monitor answers %s with no text", hmp);
	return ret;
}

/* ---- where in the guest's memory ---- */

/* A line of the tree: "LO-HI (prio N, ram): NAME[ @OFFSET][ KVM]". */
struct tree_line {
	uint64_t at, offset;
	const char *name;
	size_t name_len;
};

static bool parse_tree_line(const char *line, struct tree_line *out)
{
	size_t len = strcspn(line, "\r\n");
	const char *ram = memmem(line, len, IS_RAM, strlen(IS_RAM)), *at;
	char *end;

	if (!ram)
		return false;
	out->at = strtoull(line, &end, 16);
	if (end == line || *end != '-')
		return false;
	out->name = ram + strlen(IS_RAM);
	len -= (size_t)(out->name - line);
	if (len > strlen(OBJECTS) && strncmp(out->name, OBJECTS, strlen(OBJECTS)) == 0) {
		out->name += strlen(OBJECTS);
		len -= strlen(OBJECTS);
	}
	at = memmem(out->name, len, " @", 2);
	out->offset = at ? strtoull(at + 2, NULL, 16) : 0;
	out->name_len = at ? (size_t)(at - out->name) : len;
	return true;
}

/* Some accelerators have a word of their own at the end of a line. */
static bool is_named(const struct tree_line *line, const char *name)
{
	size_t len = strlen(name);

	return line->name_len >= len && strncmp(line->name, name, len) == 0 &&
	       (line->name_len == len || line->name[len] == ' ');
}

static bool find_in_tree(const char *tree, const char *name, struct tree_line *out)
{
	for (const char *line = tree; line; line = strchr(line, '\n')) {
		line += strspn(line, "\r\n ");
		if (parse_tree_line(line, out) && is_named(out, name))
			return true;
	}
	return false;
}

/* ---- where in QEMU's ---- */

static int ask_address(const struct question *q, uint64_t at, uint64_t *addr)
{
	static const char is[] = " is 0x";
	_cleanup_json_ json_object *answer = NULL;
	char command[64];
	const char *text;
	int ret;

	snprintf(command, sizeof(command), "gpa2hva 0x%" PRIx64, at);
	ret = ask_for_text(q, command, &answer);
	if (ret < 0)
		return ret;
	text = strstr(json_object_get_string(answer), is);
	*addr = text ? strtoull(text + strlen(is), NULL, 16) : 0;
	return *addr ? 0
		     : errtext_set(q->err, -EPROTO, "QEMU's monitor answers %s with: %.80s",
				   command, json_object_get_string(answer));
}

/* ---- the backends ---- */

static int add(const struct question *q, const char *tree, const char *name, uint64_t size,
	       struct ram_backends *out)
{
	struct ram_backend *item = &out->item[out->count];
	struct tree_line line;
	int ret;

	if (!find_in_tree(tree, name, &line))
		return 0;
	if (out->count == RAM_BLOCKS_MAX || strlen(name) >= sizeof(item->name))
		return errtext_set(q->err, -E2BIG,
				   "the guest has too many memory backends, or "
				   "one with a name that is too long: %.80s",
				   name);
	ret = ask_address(q, line.at, &item->addr);
	if (ret < 0)
		return ret;
	if (item->addr < line.offset)
		return errtext_set(q->err, -EPROTO,
				   "QEMU's monitor has memory backend %s before its beginning",
				   name);
	item->addr -= line.offset;
	item->size = size;
	snprintf(item->name, sizeof(item->name), "%s", name);
	out->count++;
	return 0;
}

static int add_all(const struct question *q, json_object *list, const char *tree,
		   struct ram_backends *out)
{
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	int ret = 0;

	for (size_t i = 0; i < n && ret == 0; i++) {
		json_object *item = json_object_array_get_idx(list, i), *id, *size;

		if (json_object_object_get_ex(item, "id", &id) &&
		    json_object_is_type(id, json_type_string) &&
		    json_object_object_get_ex(item, "size", &size))
			ret = add(q, tree, json_object_get_string(id),
				  (uint64_t)json_object_get_int64(size), out);
	}
	return ret;
}

int ram_backends_read(ram_backends_ask_fn *ask, void *opaque, struct ram_backends *out,
		      struct errtext *err)
{
	const struct question q = {ask, opaque, err};
	_cleanup_json_ json_object *list = NULL, *tree = NULL;
	int ret = ask(opaque, "{\"execute\":\"query-memdev\"}", &list, err);

	out->count = 0;
	if (ret == 0)
		ret = ask_for_text(&q, "info mtree -f", &tree);
	return ret < 0 ? ret : add_all(&q, list, json_object_get_string(tree), out);
}

const struct ram_backend *ram_backends_at(const struct ram_backends *b, uint64_t addr)
{
	for (unsigned int i = 0; b && i < b->count; i++)
		if (b->item[i].addr == addr)
			return &b->item[i];
	return NULL;
}

const struct ram_backend *ram_backends_within(const struct ram_backends *b, uint64_t start,
					      uint64_t end)
{
	for (unsigned int i = 0; b && i < b->count; i++)
		if (b->item[i].addr >= start && b->item[i].addr < end &&
		    b->item[i].size <= end - b->item[i].addr)
			return &b->item[i];
	return NULL;
}
