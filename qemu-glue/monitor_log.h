// SPDX-License-Identifier: Apache-2.0
// What a guest's QEMU has said on its private monitor, as QEMU itself writes it to a file.
//
// QEMU says RESUME before the first instruction of its guest, and has then written it, whether or
// not anybody listens, and whatever becomes of it later. So the file tells for certain whether a
// QEMU that has ended ever ran its guest. Rejected: to listen, which a dray that was killed does
// not; libvirt's log, which does not tell of a resume.
//
// A monitor whose client has spoken goes on to say events when the client has gone; one whose last
// client said nothing does not (monitor_log_quiet). So the file denies a RESUME only if it is
// whole: it begins with the greeting, each line is, and from the first client's negotiation on
// RESUME would have been in it. A later client that came while the guest might run leaves a gap,
// which only QEMU's word that it still waits for its stream closes. Whatever is less means that the
// guest may have run. Room for what QEMU says is reserved, as it goes on without a word when the
// disk is full. Any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"

#define MONITOR_LOG_PATH_MAX 128
/* The id in QEMU of the private monitor, and of its chardev. */
#define MONITOR_LOG_ID "draymon"

/* Where that is, for the socket of the monitor. */
void monitor_log_path(const char *monitor_path, char path[MONITOR_LOG_PATH_MAX]);
/* libvirt's umask lets QEMU's group in, to the socket and the file: no longer. */
void monitor_log_keep_private(const char *monitor_path);
/* The monitor has been reached: from now on there is room for its log. -ENOSPC and the like, with a
 * text: there is not. */
int monitor_log_reserve(const char *monitor_path, struct errtext *err);
/* 1: this QEMU has run its guest, or was about to; 0: it has not, so far. -ENODATA: the log is not
 * whole, the guest may have run. -ENOENT: there is no such file, as of a QEMU that an older dray
 * had started. */
int monitor_log_resumed(const char *monitor_path);
/* Whose monitor that is, and when it was started (process.h). Negative errno: nobody listens. */
int monitor_log_find_qemu(const char *monitor_path, pid_t *qemu, uint64_t *started);
/* End the QEMU that has not run its guest. Of one whose guest was not released that is known,
 * unless the log says RESUME: it lacks the end of its stream. It stands still while that is looked
 * up (standstill.h), so nothing can resume it in between. 0: it never ran, and never will.
 * -EALREADY: it has run; one that lives goes on. Others: it cannot be told, and nothing was done;
 * whatever becomes of the caller, QEMU is not left standing. */
int monitor_log_end_unless_resumed(pid_t qemu, uint64_t started, const char *monitor_path,
				   bool released, struct errtext *err);
/* The guest has arrived, and that is on record: QEMU drops the monitor, its socket and the log; or,
 * before 11.1, says nothing more on it, and the log is emptied. */
void monitor_log_quiet(const char *monitor_path);
/* The guest has left, and nobody asks the log any more: it goes, and with it the socket that a QEMU
 * leaves which was killed. Nothing is done while a QEMU has the monitor. */
void monitor_log_forget(const char *monitor_path);
