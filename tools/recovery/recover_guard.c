// SPDX-License-Identifier: Apache-2.0
// What the guard process does once its dray was killed.
#include "recover_guard.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include "recover_private.h"

#define AGAIN_US 5000000

/* Is it not settled where the guest of this host is, or has something that was borrowed from its
 * QEMU to be given back? Or is memory to be fetched to here? */
static bool is_needed(const struct recover_options *options)
{
	struct guest_dir dir;
	struct record out = {0}, in = {0};
	bool needed;

	guest_dir_paths(&dir, options->domain);
	needed = record_read(&dir, RECORD_OUTGOING, &out, NULL) == 0 &&
		 recover_is_minded(options, &out);
	needed = needed ||
		 (record_read(&dir, RECORD_INCOMING, &in, NULL) == 0 &&
		  recover_is_minded(options, &in) && !record_is_settled(RECORD_INCOMING, &in));
	record_destroy(&out);
	record_destroy(&in);
	return needed;
}

/* Time will not help: it is for an operator to decide, and nothing is left to be done afterwards. A
 * destination that was started again is for an operator, too; but if the guest is resumed here,
 * what was borrowed from it is to be given back. */
static bool is_final(int ret)
{
	return ret == -ECONNABORTED || ret == -EEXIST || ret == -EBADMSG;
}

/* Each new reason why not is told once. */
static int try(const struct recover_options *options, struct errtext *last)
{
	struct errtext err = {0};
	int ret = recover_run(options, &err);

	if (ret < 0 && strcmp(err.text, last->text) != 0)
		syslog(LOG_ERR, "guest %s, after dray was killed: %s", options->domain, err.text);
	*last = err;
	return ret;
}

/* The last to hold a guest's memory gives up only when the guest has. What libvirt's daemon does
 * not let be done now it does once it has been started again. */
int recover_guard(const struct recover_options *options)
{
	struct errtext last = {0};
	int ret;

	while ((ret = try(options, &last)) < 0 && !is_final(ret) &&
	       (ret == -ENOTCONN || ret == -EIO || is_needed(options)))
		options->world->pause(AGAIN_US);
	return ret;
}
