// SPDX-License-Identifier: Apache-2.0
// dray recover: after a crash, find out where a guest is, and finish or undo.
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include "domain_arguments.h"
#include "exit_status.h"
#include "launcher_arguments.h"
#include "libvirt_host.h"
#include "recover.h"
#include "recover_world.h"

int command_recover(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray recover",
		.usage = "DOMAIN",
		.help = "After a crash, on the host where the guest was or is: find out who has "
			"it, and finish or undo the migration.\v"
			"Exit status: 0 settled; 1 there is no such guest, or bad usage; 4 an "
			"operator must decide.",
		.least = 1,
		.most = 1,
		.options = DOMAIN_WAIT | DOMAIN_LIBVIRT_SOCKET | DOMAIN_LAUNCHER | DOMAIN_TLS_DIR};
	struct recover_options options = {.world = recover_world_real()};
	struct domain_arguments a;
	struct errtext told = {0};
	char socket[LIBVIRT_SOCKET_SIZE];
	int ret;

	domain_arguments_parse(&command, argc, argv, &a);
	options.domain = a.domain;
	options.libvirt_socket = a.libvirt_socket;
	options.tls_dir = a.tls_dir;
	options.wait_ms = a.wait_ms;
	ret = launcher_arguments_enter(a.launcher, &options.libvirt_socket, socket, &told);
	if (ret == 0)
		ret = host_library_init(&told);
	if (ret == 0)
		ret = recover_run(&options, &told);
	fprintf(ret < 0 ? stderr : stdout, "%s%s\n", ret < 0 ? "dray: " : "", told.text);
	if (ret == -EHOSTUNREACH)
		fprintf(stderr,
			"dray: only the destination knows whether the guest runs there; nothing "
			"was changed.\nStart `dray receive` there and run `dray recover %s` again. "
			"Do not resume the guest here before that.\n",
			options.domain);
	if (ret == -ENOENT || ret == -ENOTUNIQ)
		return EXIT_REFUSED;
	return ret < 0 ? EXIT_OPERATOR : 0;
}
