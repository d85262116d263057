// SPDX-License-Identifier: Apache-2.0
// dray guard: the process that outlives a killed dray and tidies up after it (guard.h).
#include "commands.h"

#include <errno.h>
#include <syslog.h>
#include <unistd.h>
#include "libvirt_host.h"
#include "record.h"
#include "recover.h"

#define AGAIN_S 5

/* Memory that its guest lacks is held here, or is to be fetched to here. */
static bool is_needed(const char *uuid)
{
	struct guest_dir dir;
	struct record out = {0}, in = {0};
	bool needed;

	guest_dir_paths(&dir, uuid);
	needed = record_read(&dir, RECORD_OUTGOING, &out, NULL) == 0 && out.released &&
		 out.post_copy;
	needed = needed || (record_read(&dir, RECORD_INCOMING, &in, NULL) == 0 && in.released &&
			    in.post_copy && !in.complete);
	record_destroy(&out);
	record_destroy(&in);
	return needed;
}

static int settle(const struct recover_options *options)
{
	struct errtext err = {0};
	int ret = recover_run(options, &err);

	if (ret < 0)
		syslog(LOG_ERR, "guest %s, after dray was killed: %s", options->domain, err.text);
	return ret;
}

/* dray guard UUID SOCKET, on standard input the pipe. Not for people. */
int command_guard(int argc, char **argv)
{
	char buf[4];
	struct errtext err = {0};
	struct recover_options options = {.wait_ms = 60000};
	int ret;

	if (argc != 3)
		return 1;
	if (read(STDIN_FILENO, buf, sizeof(buf)) > 0)
		return 0;
	options.domain = argv[1];
	options.libvirt_socket = argv[2][0] ? argv[2] : NULL;
	openlog("dray", LOG_PID, LOG_DAEMON);
	ret = host_library_init(&err);
	if (ret < 0)
		syslog(LOG_ERR, "guest %s, after dray was killed: %s", argv[1], err.text);
	/* The last to hold a guest's memory gives up only when the guest has. */
	while ((ret = settle(&options)) < 0 && ret != -ECONNABORTED && is_needed(argv[1]))
		sleep(AGAIN_S);
	return ret < 0;
}
