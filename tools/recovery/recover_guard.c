// SPDX-License-Identifier: Apache-2.0
// What the guard process does once its dray was killed.
#include "recover_guard.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>
#include "cleanup.h"
#include "recover_private.h"
#include "stand_in.h"

#define AGAIN_FIRST_US 1000000
#define AGAIN_MOST_US 10000000

static bool has_record(const struct recover_options *options, enum record_kind kind)
{
	struct guest_dir dir;
	struct record r = {0};
	bool has;

	guest_dir_paths(&dir, options->domain);
	has = record_read(&dir, kind, &r, NULL) == 0 && recover_is_minded(options, &r);
	record_destroy(&r);
	return has;
}

/* Of a guest whose QEMU here must not run: `gone` of stand_in.h, in its thread. */
struct keep {
	const struct recover_options *options;
	struct record record;
};

static void on_gone(void *opaque)
{
	const struct keep *k = opaque;

	recover_qemu_freeze(k->options, &k->record);
}

/* Is the record that of a guest in post-copy with its memory in QEMU? Then record_destroy follows.
 */
static bool is_in_qemu(const struct recover_options *options, struct record *r)
{
	struct guest_dir dir;

	guest_dir_paths(&dir, options->domain);
	if (record_read(&dir, RECORD_OUTGOING, r, NULL) == 0 && recover_is_minded(options, r) &&
	    r->released && r->post_copy && recover_qemu_has_ram(r))
		return true;
	record_destroy(r);
	*r = (struct record){0};
	return false;
}

/* Something has failed. Whatever is known by now of who has the guest, or of its memory: something
 * that was borrowed from its QEMU may still have to be given back, or an incoming QEMU be ended. */
static bool is_needed(const struct recover_options *options)
{
	return has_record(options, RECORD_OUTGOING) || has_record(options, RECORD_INCOMING);
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
static int guard(const struct recover_options *options)
{
	struct errtext last = {0};
	uint64_t pause = AGAIN_FIRST_US;
	int ret;

	while ((ret = try(options, &last)) < 0 && !is_final(ret) &&
	       (ret == -ENOTCONN || ret == -EIO || is_needed(options))) {
		options->world->pause(pause);
		pause = 2 * pause < AGAIN_MOST_US ? 2 * pause : AGAIN_MOST_US;
	}
	return ret;
}

int recover_guard(const struct recover_options *options, int connection)
{
	_cleanup_close_ int fd = connection;
	struct recover_options own = *options;
	struct keep keep = {.options = options};
	int ret;

	if (is_in_qemu(options, &keep.record) &&
	    (fd < 0 || stand_in_new(steal_fd(&fd), on_gone, &keep, &own.stand_in, NULL) < 0))
		on_gone(&keep);
	if (fd >= 0)
		close(steal_fd(&fd));
	ret = guard(&own);
	stand_in_destroy(own.stand_in);
	record_destroy(&keep.record);
	return ret;
}
