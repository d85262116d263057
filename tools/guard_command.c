// SPDX-License-Identifier: Apache-2.0
// dray guard: the process that outlives a killed dray and tidies up after it (guard.h).
#include "commands.h"

#include <syslog.h>
#include <unistd.h>
#include "cleanup.h"
#include "guard.h"
#include "libvirt_host.h"
#include "recover_guard.h"
#include "recover_world.h"

/* dray guard UUID SESSION SOCKET, on standard input the socket to dray. Not for people. */
int command_guard(int argc, char **argv)
{
	_cleanup_close_ int lent = -1;
	struct errtext err = {0};
	struct recover_options options = {.wait_ms = 60000, .world = recover_world_real()};

	if (argc != 4)
		return 1;
	if (!guard_await(STDIN_FILENO, &lent))
		return 0;
	options.domain = argv[1];
	options.session = argv[2];
	options.libvirt_socket = argv[3][0] ? argv[3] : NULL;
	openlog("dray", LOG_PID, LOG_DAEMON);
	if (host_library_init(&err) < 0)
		syslog(LOG_ERR, "guest %s, after dray was killed: %s", argv[1], err.text);
	return recover_guard(&options, steal_fd(&lent)) < 0;
}
