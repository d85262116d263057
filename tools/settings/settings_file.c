// SPDX-License-Identifier: Apache-2.0
// The configuration file: KubeVirt's own objects, or the part of them that matters.
#include "settings_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cleanup.h"

#define KEYS_SIZE 512

/* KubeVirt's, for its controllers and launcher. */
static const char *const of_kubevirt[] = {"parallelMigrationsPerCluster",
					  "nodeDrainTaintKey",
					  "unsafeMigrationOverride",
					  "matchSELinuxLevelOnMigration",
					  "utilityVolumesTimeout",
					  "experimental",
					  NULL};
static const char *const of_an_object[] = {"apiVersion", "kind",   "metadata",
					   "spec",	 "status", NULL};

static bool is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

static const char *list_keys(bool policy, char *to)
{
	size_t used = 0;

	*to = '\0';
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (setting_row(i)->policy || !policy)
			used += (size_t)snprintf(to + used, KEYS_SIZE - used, "%s%s",
						 used ? ", " : "", setting_row(i)->key);
	return to;
}

static int read_pair(struct settings *s, const struct yaml *y, struct fy_node_pair *pair,
		     const struct settings_mapping *m, unsigned int *seen, struct errtext *err)
{
	struct fy_node *key = fy_node_pair_key(pair), *value = fy_node_pair_value(pair);
	char place[ERRTEXT_SIZE], keys[KEYS_SIZE];
	const char *name = yaml_text(key), *text;
	enum setting which;

	if (name && is_one_of(name, m->ignored))
		return 0;
	if (!name || setting_find_key(name, &which) < 0 ||
	    (m->policy && !setting_row(which)->policy))
		return yaml_error(y, key, err, "unknown key '%.64s': the keys are %s",
				  name ? name : "", list_keys(m->policy, keys));
	if (*seen & 1U << which)
		return yaml_error(y, key, err, "%s is given twice: leave one", name);
	*seen |= 1U << which;
	if (yaml_is_null(value))
		return 0;
	text = yaml_text(value);
	if (!text)
		return yaml_error(y, key, err, "%s: one plain value is needed, such as %s", name,
				  *setting_row(which)->text ? setting_row(which)->text : "eth1");
	snprintf(place, sizeof(place), "%s:%u: %s", y->name, yaml_line(key), name);
	return settings_set_at(s, which, text, m->origin, place, err);
}

int settings_read_mapping(struct settings *s, const struct yaml *y, struct fy_node *map,
			  const struct settings_mapping *m, struct errtext *err)
{
	struct fy_node_pair *pair;
	void *position = NULL;
	unsigned int seen = 0;
	int ret = 0;

	while (ret == 0 && (pair = fy_node_mapping_iterate(map, &position)))
		ret = read_pair(s, y, pair, m, &seen, err);
	return ret;
}

/* Beside a part of KubeVirt's objects only what their outermost level has may stand. */
static int check_siblings(const struct yaml *y, struct fy_node *root, const char *const *allowed,
			  struct errtext *err)
{
	struct fy_node_pair *pair;
	void *position = NULL;

	while ((pair = fy_node_mapping_iterate(root, &position))) {
		const char *key = yaml_text(fy_node_pair_key(pair));

		if (!key || !is_one_of(key, allowed))
			return yaml_error(y, fy_node_pair_key(pair), err,
					  "key '%.64s' has no place beside %s: put settings into "
					  "one mapping",
					  key ? key : "", *allowed);
	}
	return 0;
}

/* Where an object's spec may have them. */
static const struct place {
	const char *path, *outer, *inner;
} places[] = {
	{"liveMigrationConfig", NULL, "liveMigrationConfig"}, /* HyperConverged v1beta1 */
	{"virtualization.liveMigrationConfig", "virtualization", "liveMigrationConfig"}, /* v1 */
	{"configuration.migrations", "configuration", "migrations"}, /* KubeVirt */
};

static int find_in_place(const struct yaml *y, struct fy_node *spec, const struct place *p,
			 struct fy_node **map, struct errtext *err)
{
	struct fy_node *outer = spec;
	int ret = p->outer ? yaml_lookup_mapping(y, spec, p->outer, &outer, err) : 0;

	*map = NULL;
	return ret < 0 || !outer ? ret : yaml_lookup_mapping(y, outer, p->inner, map, err);
}

/* *map: NULL if there is nothing in any place. */
static int find_in_spec(const struct yaml *y, struct fy_node *spec, struct fy_node **map,
			struct errtext *err)
{
	const char *found = NULL;

	*map = NULL;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct fy_node *here;
		int ret = find_in_place(y, spec, &places[i], &here, err);

		if (ret < 0)
			return ret;
		if (here && found)
			return yaml_error(y, here, err, "both spec.%s and spec.%s: leave one",
					  found, places[i].path);
		if (here) {
			found = places[i].path;
			*map = here;
		}
	}
	return 0;
}

/* An object of KubeVirt's, or of the operator around it: what it does not say is default. */
static int is_of_kubevirt(const struct yaml *y, struct fy_node *root, bool *is, struct errtext *err)
{
	static const char *const kinds[] = {"HyperConverged", "KubeVirt", NULL};
	struct fy_node *kind;
	int ret = yaml_lookup(y, root, "kind", &kind, err);
	const char *text = ret == 0 && kind ? yaml_text(kind) : NULL;

	*is = text && is_one_of(text, kinds);
	return ret;
}

/* root has a spec, or is of a kind that may be without; *map: NULL if it says nothing. */
static int find_in_object(const struct yaml *y, struct fy_node *root, bool may_lack,
			  struct fy_node **map, struct errtext *err)
{
	struct fy_node *spec;
	int ret = check_siblings(y, root, of_an_object, err);

	*map = NULL;
	if (ret == 0)
		ret = yaml_lookup(y, root, "spec", &spec, err);
	if (ret < 0)
		return ret;
	if (may_lack && yaml_is_null(spec))
		return 0;
	if (!fy_node_is_mapping(spec))
		return yaml_error(y, root, err, "spec: a mapping of keys to values is needed");
	ret = find_in_spec(y, spec, map, err);
	if (ret == 0 && !*map && !may_lack)
		ret = yaml_error(y, spec, err,
				 "spec has neither liveMigrationConfig nor configuration.migrations"
				 ", so there is nothing to read (a MigrationPolicy goes to "
				 "--policy)");
	return ret;
}

static int find_alone(const struct yaml *y, struct fy_node *root, struct fy_node **map,
		      struct errtext *err)
{
	static const char *const wrappers[] = {"liveMigrationConfig", "migrations"};

	*map = root;
	for (size_t i = 0; i < sizeof(wrappers) / sizeof(*wrappers); i++) {
		const char *const alone[] = {wrappers[i], NULL};
		struct fy_node *inner = NULL;
		int ret = yaml_lookup(y, root, wrappers[i], &inner, err);

		if (ret < 0)
			return ret;
		if (!inner)
			continue;
		ret = check_siblings(y, root, alone, err);
		if (ret == 0 && !fy_node_is_mapping(inner))
			ret = yaml_error(y, root, err, "%s: a mapping of keys to values is needed",
					 wrappers[i]);
		*map = inner;
		return ret;
	}
	return 0;
}

static int check_mapping(const struct yaml *y, struct fy_node *root, struct errtext *err)
{
	if (fy_node_is_mapping(root))
		return 0;
	return yaml_error(y, root, err,
			  "a mapping of keys to values is needed, such as "
			  "`bandwidthPerMigration: 64Mi`");
}

/* What `kubectl get -o yaml` prints for a kind is a List. */
static int unwrap_list(const struct yaml *y, struct fy_node **root, struct errtext *err)
{
	static const char *const of_a_list[] = {"items", "apiVersion", "kind", "metadata", NULL};
	struct fy_node *items;
	int ret = yaml_lookup(y, *root, "items", &items, err);

	if (ret < 0 || !items)
		return ret;
	ret = check_siblings(y, *root, of_a_list, err);
	if (ret < 0)
		return ret;
	if (!fy_node_is_sequence(items) || fy_node_sequence_item_count(items) != 1)
		return yaml_error(
			y, items, err, "items of a List: one object is needed, %d are there",
			fy_node_is_sequence(items) ? fy_node_sequence_item_count(items) : 0);
	*root = fy_node_sequence_get_by_index(items, 0);
	return check_mapping(y, *root, err);
}

/* *map: NULL if there is nothing to read. */
static int find_mapping(const struct yaml *y, struct fy_node *root, struct fy_node **map,
			struct errtext *err)
{
	struct fy_node *spec = NULL;
	bool object = false;
	int ret = check_mapping(y, root, err);

	if (ret == 0)
		ret = unwrap_list(y, &root, err);
	if (ret == 0)
		ret = is_of_kubevirt(y, root, &object, err);
	if (ret == 0)
		ret = yaml_lookup(y, root, "spec", &spec, err);
	if (ret < 0)
		return ret;
	return spec || object ? find_in_object(y, root, object, map, err)
			      : find_alone(y, root, map, err);
}

static int read_document(struct settings *s, struct yaml *y, bool may_be_empty, struct errtext *err)
{
	char origin[SETTING_ORIGIN_SIZE];
	struct settings_mapping m = {.origin = origin, .ignored = of_kubevirt};
	struct fy_node *root, *map = NULL;
	int ret = yaml_next(y, &root, err);

	if (ret < 0 || (may_be_empty && !root))
		return ret;
	if (!root || yaml_is_null(root))
		return errtext_set(err, -EINVAL,
				   "%s: is empty: a mapping of keys to values is needed, such as "
				   "`bandwidthPerMigration: 64Mi`",
				   y->name);
	snprintf(origin, sizeof(origin), "config %s", y->name);
	ret = find_mapping(y, root, &map, err);
	if (ret == 0 && map)
		ret = settings_read_mapping(s, y, map, &m, err);
	if (ret == 0)
		ret = yaml_next(y, &root, err);
	if (ret == 0 && root && !yaml_is_null(root))
		return yaml_error(y, root, err, "a second document: leave one");
	return ret;
}

static int load_text(struct settings *s, const char *name, const char *text, size_t size,
		     bool may_be_empty, struct errtext *err)
{
	_cleanup_(yaml_close) struct yaml y;
	int ret = yaml_open(&y, name, text, size, err);

	return ret < 0 ? ret : read_document(s, &y, may_be_empty, err);
}

int settings_load_text(struct settings *s, const char *name, const char *text, size_t size,
		       struct errtext *err)
{
	return load_text(s, name, text, size, false, err);
}

int settings_load(struct settings *s, const char *path, struct errtext *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int ret = yaml_read_file(path, &text, &size, err);

	return ret < 0 ? ret : settings_load_text(s, path, text, size, err);
}

int settings_load_usual(struct settings *s, const char *path, struct errtext *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int ret;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	ret = yaml_read_file(path, &text, &size, err);
	return ret < 0 ? ret : load_text(s, path, text, size, true, err);
}
