// SPDX-License-Identifier: Apache-2.0
// dray recover: after a crash, find out where a guest is, and finish or undo.
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "exit_status.h"
#include "libvirt_host.h"
#include "recover.h"
#include "recover_world.h"

static const char usage[] =
	"usage: dray recover [--wait SECONDS] [--libvirt-socket PATH] DOMAIN\n"
	"After a crash, on the host where the guest was or is: find out who has it, and finish\n"
	"or undo the migration. Exit status: 0 settled, 4 an operator must decide.\n";

static int read_wait(const char *text, uint32_t *wait_ms)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || n > 86400) {
		fprintf(stderr,
			"dray recover: --wait %s: a number of seconds, 0 to 86400, is needed\n",
			text);
		return -EINVAL;
	}
	*wait_ms = (uint32_t)n * 1000;
	return 0;
}

int command_recover(int argc, char **argv)
{
	static const struct option longs[] = {{"wait", required_argument, NULL, 'w'},
					      {"libvirt-socket", required_argument, NULL, 'l'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct recover_options options = {.wait_ms = 30000, .world = recover_world_real()};
	struct errtext told = {0};
	int c, ret;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'w' && read_wait(optarg, &options.wait_ms) < 0)
			return EXIT_REFUSED;
		if (c == 'w')
			continue;
		if (c == 'l')
			options.libvirt_socket = optarg;
		else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : EXIT_REFUSED;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return EXIT_REFUSED;
	}
	options.domain = argv[optind];
	ret = host_library_init(&told);
	if (ret == 0)
		ret = recover_run(&options, &told);
	fprintf(ret < 0 ? stderr : stdout, "%s%s\n", ret < 0 ? "dray: " : "", told.text);
	if (ret == -EHOSTUNREACH)
		fprintf(stderr,
			"dray: only the destination knows whether the guest runs there; nothing "
			"was "
			"changed.\nStart `dray receive` there and run `dray recover %s` again. Do "
			"not "
			"resume the guest here before that.\n",
			options.domain);
	if (ret == -ENOENT)
		return EXIT_REFUSED;
	return ret < 0 ? EXIT_OPERATOR : 0;
}
