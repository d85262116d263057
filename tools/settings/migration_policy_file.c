// SPDX-License-Identifier: Apache-2.0
// Reads MigrationPolicy objects from a file or a directory.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cleanup.h"
#include "migration_policy.h"
#include "settings_file.h"

#define API_VERSION "migrations.kubevirt.io/v1alpha1"
#define KIND "MigrationPolicy"

/* The value of a key as text; NULL if there is none. */
static int lookup_text(const struct yaml *y, struct fy_node *map, const char *key,
		       const char **text, struct errtext *err)
{
	struct fy_node *node;
	int ret = yaml_lookup(y, map, key, &node, err);

	*text = NULL;
	if (ret < 0 || yaml_is_null(node))
		return ret;
	*text = yaml_text(node);
	return *text ? 0 : yaml_error(y, node, err, "%s: one plain value is needed", key);
}

static int read_selector(struct labels *l, const struct yaml *y, struct fy_node *selectors,
			 const char *key, struct errtext *err)
{
	struct fy_node_pair *pair;
	struct fy_node *map;
	void *position = NULL;
	int ret = yaml_lookup_mapping(y, selectors, key, &map, err);

	while (ret == 0 && map && (pair = fy_node_mapping_iterate(map, &position))) {
		struct fy_node *label = fy_node_pair_key(pair), *node = fy_node_pair_value(pair);
		const char *name = yaml_text(label);
		const char *value = yaml_is_null(node) ? "" : yaml_text(node);
		char place[ERRTEXT_SIZE];

		if (!name || !value)
			return yaml_error(
				y, label, err,
				"%s: '%.64s': plain labels are needed, KEY: VALUE, with no "
				"matchLabels or matchExpressions",
				key, name ? name : "");
		snprintf(place, sizeof(place), "%s:%u: %s", y->name, yaml_line(label), key);
		ret = labels_add(l, name, value, place, err);
	}
	return ret;
}

/* No key but those allowed. */
static int check_keys(const struct yaml *y, struct fy_node *map, const char *what,
		      const char *const *allowed, struct errtext *err)
{
	struct fy_node_pair *pair;
	void *position = NULL;

	while ((pair = fy_node_mapping_iterate(map, &position))) {
		const char *key = yaml_text(fy_node_pair_key(pair));
		const char *const *known = allowed;

		while (key && *known && strcmp(key, *known) != 0)
			known++;
		if (!key || !*known)
			return yaml_error(y, fy_node_pair_key(pair), err,
					  "unknown key '%.64s' of %s; it may have %s and %s",
					  key ? key : "", what, allowed[0], allowed[1]);
	}
	return 0;
}

static int read_selectors(struct migration_policy *p, const struct yaml *y, struct fy_node *spec,
			  struct errtext *err)
{
	static const char *const keys[] = {"virtualMachineInstanceSelector", "namespaceSelector",
					   NULL};
	struct fy_node *selectors;
	int ret = yaml_lookup_mapping(y, spec, "selectors", &selectors, err);

	if (ret < 0 || !selectors)
		return ret;
	p->selects = true;
	ret = check_keys(y, selectors, "selectors", keys, err);
	if (ret == 0)
		ret = read_selector(&p->vmi, y, selectors, keys[0], err);
	if (ret == 0)
		ret = read_selector(&p->namespace, y, selectors, keys[1], err);
	return ret;
}

static int read_spec(struct migration_policy *p, const struct yaml *y, struct fy_node *spec,
		     struct errtext *err)
{
	static const char *const ignored[] = {"selectors", "experimental", NULL};
	const struct setting_value *post_copy = &p->values.value[SETTING_ALLOW_POST_COPY];
	char origin[SETTING_ORIGIN_SIZE];
	struct settings_mapping m = {.origin = origin, .policy = true, .ignored = ignored};
	int ret = read_selectors(p, y, spec, err);

	if (ret < 0)
		return ret;
	snprintf(origin, sizeof(origin), "policy %s", p->name);
	ret = settings_read_mapping(&p->values, y, spec, &m, err);
	if (ret == 0 && post_copy->set && !p->values.value[SETTING_ALLOW_WORKLOAD_DISRUPTION].set)
		ret = settings_set(&p->values, SETTING_ALLOW_WORKLOAD_DISRUPTION, post_copy->text,
				   origin, err);
	return ret;
}

static int read_name(struct migration_policies *all, struct migration_policy *p,
		     const struct yaml *y, struct fy_node *object, struct errtext *err)
{
	struct fy_node *metadata;
	const char *name = NULL;
	int ret = yaml_lookup_mapping(y, object, "metadata", &metadata, err);

	if (ret == 0 && metadata)
		ret = lookup_text(y, metadata, "name", &name, err);
	if (ret < 0)
		return ret;
	if (!name || !label_is_dns_subdomain(name))
		return yaml_error(y, metadata ? metadata : object, err,
				  "metadata.name '%.64s': lower-case letters, digits, '-' and '.', "
				  "253 at most, are needed, such as gold",
				  name ? name : "");
	strcpy(p->name, name);
	snprintf(p->place, sizeof(p->place), "%s:%u", y->name, yaml_line(metadata));
	for (const struct migration_policy *q = all->items; q < p; q++)
		if (strcmp(q->name, name) == 0)
			return errtext_set(err, -EEXIST,
					   "%s: MigrationPolicy %s stands at %s already: leave one",
					   p->place, name, q->place);
	return 0;
}

static int read_policy(struct migration_policies *all, const struct yaml *y, struct fy_node *object,
		       struct errtext *err)
{
	struct migration_policy *p = migration_policies_grow(all);
	struct fy_node *spec;
	int ret;

	if (!p)
		return errtext_set(err, -ENOMEM, "%s: no memory for its policies", y->name);
	ret = read_name(all, p, y, object, err);
	if (ret == 0)
		ret = yaml_lookup_mapping(y, object, "spec", &spec, err);
	if (ret < 0)
		return ret;
	if (!spec)
		return yaml_error(y, object, err, "MigrationPolicy %s has no spec", p->name);
	return read_spec(p, y, spec, err);
}

static int read_list(struct migration_policies *all, const struct yaml *y, struct fy_node *list,
		     struct errtext *err);

/* NOLINTNEXTLINE(misc-no-recursion): an object in a list is no list, so this goes no deeper */
static int read_object(struct migration_policies *all, const struct yaml *y, struct fy_node *object,
		       bool in_list, struct errtext *err)
{
	const char *version = NULL, *kind = NULL;
	int ret;

	if (!fy_node_is_mapping(object))
		return yaml_error(y, object, err, "a MigrationPolicy object is needed");
	ret = lookup_text(y, object, "kind", &kind, err);
	if (ret == 0)
		ret = lookup_text(y, object, "apiVersion", &version, err);
	if (ret < 0)
		return ret;
	if (kind && !in_list && (strcmp(kind, "List") == 0 || strcmp(kind, KIND "List") == 0))
		return read_list(all, y, object, err);
	if (!kind || !version || strcmp(kind, KIND) != 0 || strcmp(version, API_VERSION) != 0)
		return yaml_error(y, object, err,
				  "an object of kind '%.64s', apiVersion '%.64s': only kind " KIND
				  ", apiVersion " API_VERSION " can be read",
				  kind ? kind : "", version ? version : "");
	return read_policy(all, y, object, err);
}

/* NOLINTNEXTLINE(misc-no-recursion): as above */
static int read_list(struct migration_policies *all, const struct yaml *y, struct fy_node *list,
		     struct errtext *err)
{
	struct fy_node *items, *item;
	void *position = NULL;
	int ret = yaml_lookup(y, list, "items", &items, err);

	if (ret < 0)
		return ret;
	if (!items || !fy_node_is_sequence(items))
		return yaml_error(y, list, err,
				  "a List needs items, a sequence of " KIND " objects");
	while (ret == 0 && (item = fy_node_sequence_iterate(items, &position)))
		ret = read_object(all, y, item, true, err);
	return ret;
}

static int read_documents(struct migration_policies *p, struct yaml *y, struct errtext *err)
{
	struct fy_node *root;
	bool any = false;
	int ret;

	for (;;) {
		ret = yaml_next(y, &root, err);
		if (ret < 0 || !root)
			break;
		if (yaml_is_null(root))
			continue;
		any = true;
		ret = read_object(p, y, root, false, err);
		if (ret < 0)
			return ret;
	}
	if (ret == 0 && !any)
		return errtext_set(err, -EINVAL, "%s: is empty: a MigrationPolicy object is needed",
				   y->name);
	return ret;
}

int migration_policies_load_text(struct migration_policies *p, const char *name, const char *text,
				 size_t size, struct errtext *err)
{
	_cleanup_(yaml_close) struct yaml y;
	int ret = yaml_open(&y, name, text, size, err);

	return ret < 0 ? ret : read_documents(p, &y, err);
}

static int load_file(struct migration_policies *p, const char *path, struct errtext *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int ret = yaml_read_file(path, &text, &size, err);

	return ret < 0 ? ret : migration_policies_load_text(p, path, text, size, err);
}

static int is_policy_file(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && end &&
	       (strcmp(end, ".yaml") == 0 || strcmp(end, ".yml") == 0 || strcmp(end, ".json") == 0);
}

/* Not alphasort, which depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_directory(struct migration_policies *p, const char *path, struct errtext *err)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_policy_file, by_name), ret = 0;

	if (count < 0)
		return errtext_set(err, -errno, "%s: cannot be listed: %m", path);
	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *file = NULL;

		if (ret == 0 && asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0)
			ret = errtext_set(err, -ENOMEM, "%s: no memory to list it", path);
		if (ret == 0)
			ret = load_file(p, file, err);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

int migration_policies_load(struct migration_policies *p, const char *path, struct errtext *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errtext_set(err, -errno, "%s: cannot be found: %m", path);
	return S_ISDIR(st.st_mode) ? load_directory(p, path, err) : load_file(p, path, err);
}
