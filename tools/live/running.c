// SPDX-License-Identifier: Apache-2.0
// The migrations that run on this host.
#include "running.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include "guest_dir.h"
#include "json_field.h"
#include "live.h"

#define ANSWER_MS 3000

static void cleanup_list(struct running_list *list)
{
	running_destroy(list);
}

/* ROOT/UUID/control.sock: UUID is all that is known of one that does not answer. */
static json_object *silent_status(const char *socket, const char *why)
{
	json_object *o = json_object_new_object();
	const char *end = strrchr(socket, '/'), *begin = end;

	while (begin > socket && begin[-1] != '/')
		begin--;
	json_object_object_add(o, "uuid", json_object_new_string_len(begin, (int)(end - begin)));
	json_object_object_add(o, "error", json_object_new_string(why));
	return o;
}

/* NULL if nobody lives there. */
static json_object *ask_status(const char *socket)
{
	_cleanup_json_ json_object *request = json_object_new_object(), *reply = NULL;
	struct errtext err = {0};
	json_object *status;
	int ret;

	json_object_object_add(request, "command", json_object_new_string("status"));
	ret = live_call(socket, request, &reply, ANSWER_MS, &err);
	if (ret == -ENOENT || ret == -ECONNREFUSED || ret == -ECONNRESET)
		return NULL;
	status = json_field(reply, "status");
	return status ? json_object_get(status) : silent_status(socket, err.text);
}

static int collect_globbed(const glob_t *found, struct running_list *list, struct errtext *err)
{
	list->at = calloc(found->gl_pathc ? found->gl_pathc : 1, sizeof(*list->at));
	if (!list->at)
		return errtext_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < found->gl_pathc; i++) {
		struct running *r = &list->at[list->count];

		if (strlen(found->gl_pathv[i]) >= sizeof(r->socket))
			continue;
		strcpy(r->socket, found->gl_pathv[i]);
		r->status = ask_status(r->socket);
		list->count += r->status != NULL;
	}
	return 0;
}

int running_collect(const char *root, struct running_list *list, struct errtext *err)
{
	char pattern[128];
	glob_t found = {0};
	int ret;

	*list = (struct running_list){0};
	if (geteuid() != 0)
		return errtext_set(err, -EPERM,
				   "only root may speak to the migrations of this host: run this "
				   "as root");
	if (snprintf(pattern, sizeof(pattern),
		     "%s/*/{" GUEST_DIR_CONTROL "," GUEST_DIR_INCOMING "}",
		     root) >= (int)sizeof(pattern))
		return errtext_set(err, -ENAMETOOLONG, "%s: the path is too long", root);
	ret = glob(pattern, GLOB_BRACE, NULL, &found);
	if (ret != 0 && ret != GLOB_NOMATCH)
		ret = errtext_set(err, -EIO, "%s: cannot look for running migrations", pattern);
	else
		ret = collect_globbed(&found, list, err);
	globfree(&found);
	return ret;
}

void running_destroy(struct running_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		json_object_put(list->at[i].status);
	free(list->at);
	*list = (struct running_list){0};
}

static void name_all(const struct running_list *list, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->count && used < size; i++) {
		const char *key = json_field(list->at[i].status, "domain") ? "domain" : "uuid";
		char name[128];

		used += (size_t)snprintf(
			text + used, size - used, "%s%s", i ? ", " : "",
			json_field_text(list->at[i].status, key, name, sizeof(name)));
	}
}

int running_find(const struct running_list *list, const char *domain, const struct running **found,
		 struct errtext *err)
{
	char names[512];

	for (size_t i = 0; i < list->count; i++)
		if (json_names_domain(list->at[i].status, domain)) {
			*found = &list->at[i];
			return 0;
		}
	name_all(list, names, sizeof(names));
	return errtext_set(err, -ENOENT, "no migration of '%s' runs on this host; %s%s", domain,
			   *names ? "these do: " : "none of any guest does", names);
}

int running_call(const char *root, const char *domain, json_object *request, json_object **status,
		 json_object **reply, struct errtext *err)
{
	_cleanup_(cleanup_list) struct running_list list = {0};
	const struct running *found = NULL;
	int ret = running_collect(root, &list, err);

	if (ret == 0)
		ret = running_find(&list, domain, &found, err);
	if (ret == 0)
		ret = live_call(found->socket, request, reply, ANSWER_MS, err);
	if (ret == 0)
		*status = json_object_get(found->status);
	return ret;
}
