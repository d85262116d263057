// SPDX-License-Identifier: Apache-2.0
// Labels: Kubernetes' syntax, and matching.
#include "labels.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"
#define FORM "KEY=VALUE, such as workload=database or example.com/tier=gold"

static bool is_in(char c, const char *set)
{
	return c && strchr(set, c);
}

/* Characters of `inner` inside, of `edge` first and last. */
static bool is_word(const char *text, size_t size, size_t max, const char *edge, const char *inner)
{
	if (size == 0 || size > max)
		return false;
	return is_in(text[0], edge) && is_in(text[size - 1], edge) && strspn(text, inner) >= size;
}

static bool is_name(const char *text, size_t size)
{
	return is_word(text, size, LABEL_NAME_MAX, LOWER UPPER DIGIT, LOWER UPPER DIGIT "-_.");
}

static bool is_dns(const char *text, size_t size)
{
	const char *end = text + size;

	if (size == 0 || size > LABEL_PREFIX_MAX)
		return false;
	while (text <= end) {
		const char *dot = memchr(text, '.', (size_t)(end - text));
		size_t part = (size_t)((dot ? dot : end) - text);

		if (!is_word(text, part, LABEL_PREFIX_MAX, LOWER DIGIT, LOWER DIGIT "-"))
			return false;
		text += part + 1;
	}
	return true;
}

bool label_is_dns_subdomain(const char *text)
{
	return is_dns(text, strlen(text));
}

static bool is_key(const char *key)
{
	const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;

	return is_name(name, strlen(name)) && (!slash || is_dns(key, (size_t)(slash - key)));
}

static int check(const char *key, const char *value, const char *place, struct errtext *err)
{
	if (!is_key(key))
		return errtext_set(
			err, -EINVAL,
			"%s: '%.64s' is no label key: up to 63 letters, digits, '-', "
			"'_' or '.', after a domain and '/' if there is one, are needed: " FORM,
			place, key);
	if (*value && !is_name(value, strlen(value)))
		return errtext_set(err, -EINVAL,
				   "%s: label %s: '%.64s' is no label value: up to 63 letters, "
				   "digits, '-', '_' or '.' are needed: " FORM,
				   place, key, value);
	return 0;
}

static const struct label *find(const struct labels *l, const char *key)
{
	for (unsigned int i = 0; i < l->count; i++)
		if (strcmp(l->items[i].key, key) == 0)
			return &l->items[i];
	return NULL;
}

int labels_add(struct labels *l, const char *key, const char *value, const char *place,
	       struct errtext *err)
{
	struct label *items;
	int ret = check(key, value, place, err);

	if (ret)
		return ret;
	if (find(l, key))
		return errtext_set(err, -EEXIST, "%s: label %s is given twice: leave one", place,
				   key);
	if (l->count == LABELS_MAX)
		return errtext_set(err, -E2BIG, "%s: more than %d labels", place, LABELS_MAX);
	items = reallocarray(l->items, l->count + 1, sizeof(*items));
	if (!items)
		return errtext_set(err, -ENOMEM, "%s: no memory for labels", place);
	l->items = items;
	strcpy(items[l->count].key, key);
	strcpy(items[l->count].value, value);
	l->count++;
	return 0;
}

int labels_parse(struct labels *l, const char *text, const char *place, struct errtext *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *item;

	if (!copy)
		return errtext_set(err, -ENOMEM, "%s: no memory for labels", place);
	while (*text && (item = strsep(&rest, ","))) {
		char *value = strchr(item, '=');
		int ret;

		if (!value)
			return errtext_set(err, -EINVAL,
					   "%s: '%.64s' has no '=': labels are needed as " FORM
					   ", several with ',' between them",
					   place, item);
		*value++ = '\0';
		ret = labels_add(l, item, value, place, err);
		if (ret)
			return ret;
	}
	return 0;
}

void labels_destroy(struct labels *l)
{
	free(l->items);
	*l = (struct labels){0};
}

bool labels_match(const struct labels *selector, const struct labels *l)
{
	for (unsigned int i = 0; i < selector->count; i++) {
		const struct label *found = find(l, selector->items[i].key);

		if (!found || strcmp(found->value, selector->items[i].value) != 0)
			return false;
	}
	return true;
}
