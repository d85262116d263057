// SPDX-License-Identifier: Apache-2.0
// dray check: can this guest be migrated, by which lane, and if not, why not.
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "commands.h"
#include "domain_arguments.h"
#include "domain_conditions.h"
#include "exit_status.h"
#include "guest_check.h"
#include "lane.h"
#include "libvirt_host.h"

/* ---- output ---- */

static json_object *blocks_json(const struct ram_map *ram)
{
	json_object *blocks = json_object_new_array();

	for (unsigned int i = 0; i < ram->count; i++) {
		json_object *b = json_object_new_object();

		json_object_object_add(b, "name", json_object_new_string(ram->blocks[i].name));
		json_object_object_add(b, "bytes", json_object_new_uint64(ram->blocks[i].size));
		json_object_object_add(b, "page_size",
				       json_object_new_int64(ram->blocks[i].page_size));
		json_object_array_add(blocks, b);
	}
	return blocks;
}

static json_object *conditions_json(const struct conditions *c)
{
	json_object *list = json_object_new_array();

	for (unsigned int i = 0; i < c->count; i++) {
		const struct condition *x = &c->list[i];
		json_object *o = json_object_new_object();

		json_object_object_add(o, "type", json_object_new_string(x->type));
		json_object_object_add(o, "status",
				       json_object_new_string(condition_status_name(x->status)));
		json_object_object_add(o, "reason", json_object_new_string(x->reason));
		json_object_object_add(o, "message", json_object_new_string(x->message));
		json_object_array_add(list, o);
	}
	return list;
}

static void print_json(const char *domain, int ret, const struct guest_facts *f, const char *why)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "domain", json_object_new_string(domain));
	json_object_object_add(o, "migratable", json_object_new_boolean(ret == 0));
	json_object_object_add(o, "lane", ret == 0 ? json_object_new_string(LANE_DIRECT) : NULL);
	json_object_object_add(o, "reason", json_object_new_string(why));
	json_object_object_add(o, "conditions", conditions_json(&f->conditions));
	json_object_object_add(o, "ram_blocks", blocks_json(&f->ram));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

/* The reasons differ much in length, so their column is as wide as the widest. */
static void print_conditions(const struct conditions *c)
{
	static const char format[] = "%-14s  %-7s  %-*s  %s\n";
	int width = (int)strlen("REASON");

	for (unsigned int i = 0; i < c->count; i++) {
		int len = (int)strlen(c->list[i].reason);

		width = len > width ? len : width;
	}
	printf(format, "TYPE", "STATUS", width, "REASON", "MESSAGE");
	for (unsigned int i = 0; i < c->count; i++)
		printf(format, c->list[i].type, condition_status_name(c->list[i].status), width,
		       c->list[i].reason, c->list[i].message);
}

static void print_text(const char *domain, int ret, const struct guest_facts *f)
{
	print_conditions(&f->conditions);
	puts("");
	if (ret < 0) {
		printf("%s cannot be migrated by dray now.\n", domain);
		return;
	}
	printf("%s can be migrated by the direct lane:\n", domain);
	for (unsigned int i = 0; i < f->ram.count; i++)
		printf("  RAM block %s, %" PRIu64 " MiB in pages of %u KiB\n",
		       f->ram.blocks[i].name, f->ram.blocks[i].size >> 20,
		       f->ram.blocks[i].page_size >> 10);
}

/* ---- the command ---- */

static int check(const struct domain_arguments *a, struct host **host, struct guest_facts *facts,
		 struct errtext *err)
{
	struct errtext kernel = {0};
	char socket[108];
	int ret = guest_check_process(&kernel);

	/* What the kernel lacks is a condition among others. */
	if (ret < 0 && ret != -ENOTSUP)
		return errtext_set(err, ret, "%s", kernel.text);
	ret = host_socket_path(a->libvirt_socket, socket, err);
	if (ret == 0)
		ret = host_library_init(err);
	if (ret == 0)
		ret = host_open(socket, host, err);
	if (ret == 0)
		ret = guest_check(*host, a->domain, facts, err);
	return ret;
}

/* What could not be found out is the first type that has no condition yet. */
static void add_failure(struct conditions *c, const char *why)
{
	bool live = !conditions_have_type(c, CONDITION_LIVE_MIGRATABLE);

	conditions_add(c, live ? CONDITION_LIVE_MIGRATABLE : CONDITION_DIRECT_LANE,
		       CONDITION_UNKNOWN, "CheckFailed", "%s", why);
}

int command_check(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray check",
		.usage = "DOMAIN",
		.help = "Tell whether the guest DOMAIN can be migrated. Changes nothing.\v"
			"Exit status: 0 it can, 1 it cannot.",
		.least = 1,
		.most = 1,
		.options = DOMAIN_JSON | DOMAIN_LIBVIRT_SOCKET};
	struct domain_arguments a;
	struct guest_facts facts = {0};
	struct errtext err = {0};
	struct host *host = NULL;
	int ret;

	domain_arguments_parse(&command, argc, argv, &a);
	ret = check(&a, &host, &facts, &err);
	if (ret < 0 && conditions_count(&facts.conditions, NULL, CONDITION_FALSE) == 0)
		add_failure(&facts.conditions, err.text);
	if (a.json)
		print_json(a.domain, ret, &facts, err.text);
	else
		print_text(a.domain, ret, &facts);
	guest_facts_destroy(&facts);
	host_close(host);
	return ret < 0 ? EXIT_REFUSED : 0;
}
