// SPDX-License-Identifier: Apache-2.0
// dray check: can this guest be migrated, by which lane, and if not, why not.
//
// What only the other host can tell is found out by trying: a migration's first steps, up to the
// start of a QEMU there, which are then undone. libvirt knows no other way to ask that would tell
// all that it may refuse a guest for.
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "commands.h"
#include "domain_backing.h"
#include "domain_conditions.h"
#include "exit_status.h"
#include "guest_check.h"
#include "guest_dir.h"
#include "lane.h"
#include "launcher_arguments.h"
#include "libvirt_host.h"
#include "outgoing_arguments.h"
#include "signals.h"

/* For a turn at the destination, whose own migrations come first. */
#define TURN_S 30

enum { /* options without a letter; below those of settings_options.h */
       OPT_JSON = 256,
       OPT_SOCKET,
       OPT_LAUNCHER,
       OPT_DESTINATION,
       OPT_XML,
};

struct arguments {
	struct outgoing_options out; /* domain, destination (NULL: none), libvirt_socket, ... */
	struct settings_input settings;
	bool json, xml;
	pid_t launcher;
	char launcher_socket[LIBVIRT_SOCKET_SIZE];
};

static const struct argp_option options[] = {
	{"json", OPT_JSON, NULL, 0, "JSON on standard output", 1},
	{"xml", OPT_XML, NULL, 0,
	 "Print what makes the guest ready from its start, for its libvirt definition, and nothing "
	 "else",
	 1},
	{"libvirt-socket", OPT_SOCKET, "PATH", 0, "This host's libvirt daemon", 1},
	{"launcher", OPT_LAUNCHER, "PID", 0, LAUNCHER_ARGUMENTS_HELP, 1},
	{"destination", OPT_DESTINATION, "HOST[:PORT]", 0,
	 "Ask this host, too, where `dray receive` runs: its libvirt starts a QEMU for the guest "
	 "and ends it again. The guest runs on here. What follows is as for dray migrate",
	 1},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
	{0},
};

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

/* ---- the XML ---- */

static void cleanup_host(struct host **host)
{
	host_close(*host);
}

static int read_definition(const struct outgoing_options *out, char **xml, struct errtext *err)
{
	_cleanup_(cleanup_host) struct host *host = NULL;
	struct domain_info info;
	char socket[LIBVIRT_SOCKET_SIZE];
	int ret = host_socket_path(out->libvirt_socket, socket, err);

	if (ret == 0)
		ret = host_library_init(err);
	if (ret == 0)
		ret = host_open(socket, &host, err);
	if (ret == 0)
		ret = host_find(host, out->domain, &info, err);
	if (ret == 0)
		ret = host_domain_xml(host, info.uuid, info.persistent, xml, err);
	return ret;
}

/* Returns the exit status. */
static int print_xml(const struct outgoing_options *out, struct errtext *err)
{
	_cleanup_free_ char *xml = NULL, *backing = NULL;

	if (read_definition(out, &xml, err) == 0)
		backing = domain_backing_for(xml, err);
	if (!backing) {
		fprintf(stderr, "dray: %s\n", err->text);
		return EXIT_REFUSED;
	}
	printf("<!-- in place of the domain's <memoryBacking>; memory_backing_dir in qemu.conf on "
	       "tmpfs; shut the guest down and start it -->\n%s\n",
	       backing);
	return 0;
}

/* ---- the command ---- */

static int check(const struct outgoing_options *out, struct host **host, struct guest_facts *facts,
		 struct errtext *err)
{
	struct errtext kernel = {0};
	char socket[108];
	int ret = guest_check_process(&kernel);

	/* What the kernel lacks is a condition among others. */
	if (ret < 0 && ret != -ENOTSUP)
		return errtext_set(err, ret, "%s", kernel.text);
	ret = host_socket_path(out->libvirt_socket, socket, err);
	if (ret == 0)
		ret = host_library_init(err);
	if (ret == 0)
		ret = host_open(socket, host, err);
	if (ret == 0)
		ret = guest_check(*host, out->domain, facts, err);
	return ret;
}

/* What could not be found out is the first type that has no condition yet. */
static void add_failure(struct conditions *c, const char *why)
{
	bool live = !conditions_have_type(c, CONDITION_LIVE_MIGRATABLE);

	conditions_add(c, live ? CONDITION_LIVE_MIGRATABLE : CONDITION_DIRECT_LANE,
		       CONDITION_UNKNOWN, "CheckFailed", "%s", why);
}

/* Returns the exit status; *sure is false where another attempt might come out otherwise. */
static int run_trial(const struct outgoing_options *out, struct report_result *result, bool *sure,
		     struct errtext *err)
{
	struct report report = {0}; /* warnings, on standard error */
	struct steering *steering;
	bool may_pass;
	int status;

	if (steering_new(false, &out->limits, &steering, err) < 0)
		return EXIT_FAILED;
	status = outgoing_run(out, steering, &report, result, &may_pass);
	*sure = status == EXIT_COMPLETED || (status == EXIT_REFUSED && !may_pass);
	steering_destroy(steering);
	if (result->uuid[0])
		guest_dir_tidy(result->uuid);
	if (status != EXIT_COMPLETED)
		errtext_set(err, 0, "%s", result->reason);
	return status;
}

static int ask_destination(struct outgoing_options *out, struct conditions *c, struct errtext *err)
{
	struct report_result result = {0};
	bool sure = false;
	int status;

	out->trial = true;
	out->queue_s = TURN_S;
	status = run_trial(out, &result, &sure, err);
	if (status == EXIT_COMPLETED)
		conditions_add(c, CONDITION_DESTINATION, CONDITION_TRUE, "Accepted",
			       "%s would take domain %s: libvirt there has started a QEMU for it, "
			       "and ended it again",
			       out->destination, result.domain);
	else
		conditions_add(c, CONDITION_DESTINATION, sure ? CONDITION_FALSE : CONDITION_UNKNOWN,
			       sure ? "Refused" : "CheckFailed", "%s", err->text);
	return status;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->settings;
		break;
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_XML:
		a->xml = true;
		break;
	case OPT_SOCKET:
		a->out.libvirt_socket = arg;
		break;
	case OPT_LAUNCHER:
		a->launcher = launcher_arguments_pid(arg, state);
		break;
	case OPT_DESTINATION:
		a->out.destination = arg;
		break;
	case 'h':
		argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		if (a->out.domain)
			argp_error(state, "%s: too many arguments", arg);
		a->out.domain = arg;
		break;
	case ARGP_KEY_END:
		if (!a->out.domain)
			argp_error(state, "a domain is needed");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct argp_child children[] = {{&settings_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		options,
		parse,
		"DOMAIN",
		"Tell whether the guest DOMAIN can be migrated. Changes nothing.\v"
		"Exit status: 0 it can, 1 it cannot, or not to that destination.",
		children,
		NULL,
		NULL};

	outgoing_defaults(&a->out);
	argp_err_exit_status = EXIT_REFUSED;
	argv[0] = (char *)"dray check";
	argp_parse(&argp, argc, argv, 0, NULL, a);
}

int command_check(int argc, char **argv)
{
	struct arguments a = {0};
	struct guest_facts facts = {0};
	struct errtext err = {0};
	struct report report;
	struct host *host = NULL;
	int ret;

	read_arguments(argc, argv, &a);
	report_init(&report, false);
	if (a.out.destination && outgoing_arguments_resolve(&a.settings, &a.out, &report))
		return EXIT_REFUSED;
	if (a.out.destination)
		signals_block();
	ret = launcher_arguments_enter(a.launcher, &a.out.libvirt_socket, a.launcher_socket, &err);
	if (a.xml && ret == 0)
		return print_xml(&a.out, &err);
	if (ret == 0)
		ret = check(&a.out, &host, &facts, &err);
	if (ret < 0 && conditions_count(&facts.conditions, NULL, CONDITION_FALSE) == 0)
		add_failure(&facts.conditions, err.text);
	if (ret == 0 && a.out.destination && ask_destination(&a.out, &facts.conditions, &err))
		ret = -ENOTSUP;
	if (a.json)
		print_json(a.out.domain, ret, &facts, err.text);
	else
		print_text(a.out.domain, ret, &facts);
	guest_facts_destroy(&facts);
	host_close(host);
	return ret < 0 ? EXIT_REFUSED : 0;
}
