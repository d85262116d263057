// SPDX-License-Identifier: Apache-2.0
// What the guard process does once its dray was killed.
#include "recover_guard.h"

#include <errno.h>
#include <syslog.h>
#include "record.h"
#include "recover_world.h"

#define AGAIN_US 5000000

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

static int try(const struct recover_options *options)
{
	struct errtext err = {0};
	int ret = recover_run(options, &err);

	if (ret < 0)
		syslog(LOG_ERR, "guest %s, after dray was killed: %s", options->domain, err.text);
	return ret;
}

int recover_guard(const struct recover_options *options)
{
	int ret;

	/* The last to hold a guest's memory gives up only when the guest has. */
	while ((ret = try(options)) < 0 && ret != -ECONNABORTED && is_needed(options->domain))
		options->world->pause(AGAIN_US);
	return ret;
}
