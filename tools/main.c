// SPDX-License-Identifier: Apache-2.0
// dray: a table of subcommands.
#include <unistd.h>
#include <grp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "commands.h"
#include "ram_access.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments, *help; /* NULL: not for people */
} commands[] = {
	{"migrate", command_migrate, "[options] DOMAIN HOST[:PORT]",
	 "move a running guest to HOST, where `dray receive` runs"},
	{"receive", command_receive, "[options]", "take in guests on this host"},
	{"check", command_check, "[--json] DOMAIN", "can it be migrated, and if not, why not"},
	{"probe", command_probe, "[--json]", "what this kernel, QEMU and libvirt offer"},
	{"recover", command_recover, "DOMAIN", "after a crash: find the guest, finish or undo"},
	{"status", command_status, "[--json] [DOMAIN]", "the migrations that run on this host"},
	{"cancel", command_cancel, "DOMAIN", "give a migration up; the guest stays here"},
	{"set", command_set, "DOMAIN KEY=VALUE...", "change the limits of a running migration"},
	{"history", command_history, "[--json] DOMAIN", "what became of the newest attempts"},
	{"policy", command_policy, "[options]", "the settings a migration would have, and why"},
	{"bench", command_bench, "[options]", "how fast the engine moves memory here"},
	{"guard", command_guard, NULL, NULL},
};

static void print_help(FILE *to)
{
	fputs("usage: dray COMMAND ...\n\nLive migration of QEMU/KVM guests between libvirt hosts."
	      "\n\n",
	      to);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (commands[i].help)
			fprintf(to, "  %-8s %-30s %s\n", commands[i].name, commands[i].arguments,
				commands[i].help);
	fputs("\n`dray COMMAND --help` tells the options; the manual is dray(8).\n", to);
}

static int run(const char *name, int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argc, argv);
	fprintf(stderr, "dray: no command '%s'; `dray --help` lists them\n", name);
	return 1;
}

/* dray help [COMMAND] */
static int help(int argc, char **argv)
{
	char option[] = "--help", *request[] = {argv[0], option, NULL};

	if (argc > 1)
		return run(argv[1], 2, request);
	print_help(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	ram_access_init();
	if (getuid() == 0 && setgroups(0, NULL) < 0) /* root needs none (fs_user.h) */
		fprintf(stderr, "dray: cannot give up its groups: %s\n", strerror(errno));
	if (argc < 2) {
		print_help(stderr);
		return 1;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return 0;
	}
	if (strcmp(argv[1], "help") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(argv[1], "--version") == 0) {
		puts("dray " DRAY_VERSION);
		return 0;
	}
	return run(argv[1], argc - 1, argv + 1);
}
