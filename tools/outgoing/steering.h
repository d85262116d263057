// SPDX-License-Identifier: Apache-2.0
// What the world may do to a running migration: look at it, change its limits, call it off.
//
// Sources are signals (SIGINT, SIGTERM), the caller's death, and the status socket in the guest's
// directory. A steering lives as long as `dray migrate`, over all of its attempts. All functions
// are called by the driving thread, except where it says otherwise; the steering's own threads only
// post mail.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include "errtext.h"
#include "mailbox.h"
#include "phase.h"

struct steering;

/* What `dray set` may change. */
struct steering_limits {
	uint64_t bandwidth; /* bytes/s, 0: no cap */
	uint32_t max_downtime_ms;
	bool post_copy;
};

struct steering_status {
	char domain[256], uuid[37], host[256];
	enum phase phase;
	const char *mode, *lane; /* constants */
	bool tls;
	uint32_t round;
	uint64_t remaining_bytes, transferred_bytes, total_bytes;
	uint64_t dirty_bytes_per_s, bytes_per_s, eta_ms;
	unsigned int throttle_percent, queued_ahead;
	char decision[224]; /* the last one, in words */
};

/* signals_block must have been called. With die_with_parent the death of the process that started
 * us cancels, too. */
int steering_new(bool die_with_parent, const struct steering_limits *limits, struct steering **out,
		 struct errtext *err);
void steering_destroy(struct steering *s);

/* Where requests go from now on; NULL: nobody is there to take them. */
void steering_attach(struct steering *s, struct mailbox *mail);
/* Open the status socket, once. -EADDRINUSE: another dray serves this guest. */
int steering_listen(struct steering *s, const char *path, struct errtext *err);
/* The guest is about to be handed over: from now on a cancel is refused. False if it has been
 * called off already. steering_attach takes this back. */
bool steering_commit(struct steering *s);
/* Call the migration off, as a signal does; why is for the report. Any thread. False: it is too
 * late. */
bool steering_cancel(struct steering *s, const char *why);
void steering_show(struct steering *s, const struct steering_status *status);
void steering_limits(struct steering *s, struct steering_limits *limits);
/* Wait between two attempts. False as soon as somebody has called the migration off. */
bool steering_pause(struct steering *s, unsigned int seconds);
