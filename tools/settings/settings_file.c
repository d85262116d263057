// SPDX-License-Identifier: Apache-2.0
// The configuration file: KubeVirt's own objects, or the part of them that matters.
#include "settings_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
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

static int find_in_spec(const struct yaml *y, struct fy_node *spec, struct fy_node **map,
			struct errtext *err)
{
	struct fy_node *outer = NULL, *kubevirt = NULL;
	int ret = yaml_lookup_mapping(y, spec, "liveMigrationConfig", map, err);

	if (ret == 0)
		ret = yaml_lookup_mapping(y, spec, "configuration", &outer, err);
	if (ret == 0 && outer)
		ret = yaml_lookup_mapping(y, outer, "migrations", &kubevirt, err);
	if (ret < 0)
		return ret;
	if (*map && kubevirt)
		return yaml_error(y, kubevirt, err,
				  "both spec.liveMigrationConfig and spec.configuration.migrations:"
				  " leave one");
	if (!*map)
		*map = kubevirt;
	return *map ? 0
		    : yaml_error(y, spec, err,
				 "spec has neither liveMigrationConfig nor configuration.migrations"
				 ", so there is nothing to read (a MigrationPolicy goes to "
				 "--policy)");
}

static int find_mapping(const struct yaml *y, struct fy_node *root, struct fy_node **map,
			struct errtext *err)
{
	static const char *const wrappers[] = {"spec", "liveMigrationConfig", "migrations"};

	if (!fy_node_is_mapping(root))
		return yaml_error(y, root, err,
				  "a mapping of keys to values is needed, such as "
				  "`bandwidthPerMigration: 64Mi`");
	*map = root;
	for (size_t i = 0; i < sizeof(wrappers) / sizeof(*wrappers); i++) {
		const char *const alone[] = {wrappers[i], NULL};
		struct fy_node *inner = NULL;
		int ret = yaml_lookup(y, root, wrappers[i], &inner, err);

		if (ret < 0)
			return ret;
		if (!inner)
			continue;
		ret = check_siblings(y, root, i == 0 ? of_an_object : alone, err);
		if (ret == 0 && !fy_node_is_mapping(inner))
			ret = yaml_error(y, root, err, "%s: a mapping of keys to values is needed",
					 wrappers[i]);
		*map = inner;
		return ret < 0 || i > 0 ? ret : find_in_spec(y, inner, map, err);
	}
	return 0;
}

static int read_document(struct settings *s, struct yaml *y, struct errtext *err)
{
	char origin[SETTING_ORIGIN_SIZE];
	struct settings_mapping m = {.origin = origin, .ignored = of_kubevirt};
	struct fy_node *root, *map;
	int ret = yaml_next(y, &root, err);

	if (ret < 0)
		return ret;
	if (!root || yaml_is_null(root))
		return errtext_set(err, -EINVAL,
				   "%s: is empty: a mapping of keys to values is needed, such as "
				   "`bandwidthPerMigration: 64Mi`",
				   y->name);
	snprintf(origin, sizeof(origin), "config %s", y->name);
	ret = find_mapping(y, root, &map, err);
	if (ret == 0)
		ret = settings_read_mapping(s, y, map, &m, err);
	if (ret == 0)
		ret = yaml_next(y, &root, err);
	if (ret == 0 && root && !yaml_is_null(root))
		return yaml_error(y, root, err, "a second document: leave one");
	return ret;
}

int settings_load_text(struct settings *s, const char *name, const char *text, size_t size,
		       struct errtext *err)
{
	_cleanup_(yaml_close) struct yaml y;
	int ret = yaml_open(&y, name, text, size, err);

	return ret < 0 ? ret : read_document(s, &y, err);
}

int settings_load(struct settings *s, const char *path, struct errtext *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int ret = yaml_read_file(path, &text, &size, err);

	return ret < 0 ? ret : settings_load_text(s, path, text, size, err);
}
