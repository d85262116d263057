// SPDX-License-Identifier: Apache-2.0
// A QMP client on a UNIX socket: commands one at a time, events as they come.
//
// One thread per client. Once a call has failed with anything but -EREMOTEIO, -ENOSYS or
// -ETIMEDOUT the connection is of no use any more and every call returns that error again.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <json-c/json_object.h>
#include "errtext.h"

#define QMP_LINE_MAX (16u << 20) /* bytes; a longer message is a broken peer */
#define QMP_DEPTH_MAX 128	 /* nesting of JSON */

struct qmp;

/* data is borrowed, may be NULL. time_us: QEMU's clock (CLOCK_REALTIME), microseconds, 0 if it
 * sent none. Called from within qmp_execute, qmp_process and qmp_on_event; must not call any of
 * them on the same client. */
typedef void qmp_event_fn(void *opaque, const char *name, json_object *data, uint64_t time_us);

/* Connect, read the greeting, negotiate. A QEMU monitor serves one client at a time: a second one
 * gets no greeting (-ETIMEDOUT). */
int qmp_open(const char *path, int timeout_ms, struct qmp **out, struct errtext *err);
/* The same on a connected socket, which becomes the client's, on failure too. name is for
 * messages. */
int qmp_adopt(int fd, const char *name, int timeout_ms, struct qmp **out, struct errtext *err);
void qmp_close(struct qmp *q);

/* Who created the socket on the other side. */
pid_t qmp_peer_pid(const struct qmp *q);

/* From now on events go to fn (NULL: are dropped), beginning with those that came since the client
 * was opened. */
void qmp_on_event(struct qmp *q, qmp_event_fn *fn, void *opaque);

/* Run a command and wait for its answer. args is borrowed, may be NULL. *ret (ret may be NULL) is a
 * reference of the caller's, to be released by json_object_put. -EREMOTEIO: QEMU answered with
 * an error, which is in the text; -ENOSYS: it does not know the command; -ETIMEDOUT: no answer in
 * time, a later one will be dropped; -ECONNRESET: QEMU closed the socket; -EPROTO: no QMP. */
int qmp_execute(struct qmp *q, const char *cmd, json_object *args, int timeout_ms,
		json_object **ret, struct errtext *err);

/* Give a command, and do not wait: QEMU may hang, and answers then when it does no more. The answer
 * goes to fn, as an event would, from within the same calls; or never, if the connection ends. 0,
 * or what qmp_execute says of a QEMU that has failed already. One at a time. */
typedef void qmp_answer_fn(void *opaque, int ret, const struct errtext *err);
int qmp_post(struct qmp *q, const char *cmd, json_object *args, qmp_answer_fn *fn, void *opaque,
	     struct errtext *err);

/* For a poll loop: wait for POLLIN on the descriptor, then take what is there, without blocking. */
int qmp_fd(const struct qmp *q);
int qmp_process(struct qmp *q, struct errtext *err);

#define QMP_TIMEOUT_MS 5000 /* of commands that QEMU answers at once */

int qmp_set_capability(struct qmp *q, const char *capability, bool on, struct errtext *err);
/* The same by qmp_post. */
int qmp_post_capability(struct qmp *q, const char *capability, bool on, qmp_answer_fn *fn,
			void *opaque, struct errtext *err);

/* From now on QEMU drops the monitor of that id, and its socket with it, when its client hangs up.
 * -EREMOTEIO: it keeps it, as every QEMU before 11.1. */
int qmp_drop_on_close(struct qmp *q, const char *id, struct errtext *err);

/* Wait until every disk request of the guest that is in flight now has ended. */
int qmp_drain_io(struct qmp *q, int timeout_ms, struct errtext *err);
