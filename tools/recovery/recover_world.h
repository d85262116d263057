// SPDX-License-Identifier: Apache-2.0
// What recovery reaches beyond this host's libvirt (host.h) and files: the other host, the guest's
// memory, and time.
//
// Each function is that of its own header, to which owner, threads and errors belong. Tests put
// others in their place.
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include "errtext.h"
#include "ownership.h"
#include "page_link.h"
#include "ram_keep.h"
#include "ram_map.h"
#include "server.h"

struct recover_world {
	/* ownership.h: ownership_ask */
	ownership_ask_fn *ask;

	/* ram_keep.h, ram_find.h: ram_reopen, ram_reopen_found, ram_find */
	int (*reopen_ram)(pid_t holder, const struct ram_keep *keep, struct ram_map *map,
			  struct errtext *err);
	int (*reopen_found)(pid_t qemu, uint64_t started, const struct ram_keep *keep,
			    struct ram_map *map, struct errtext *err);
	int (*find_ram)(pid_t qemu, bool writable, struct ram_map *ram, struct errtext *err);

	/* ram_keep.h: ram_reopen_ended, ram_keep_hold_qemu; process.h: process_signal,
	 * process_has_ended */
	int (*reopen_ended)(const struct ram_keep *keep, struct ram_map *map, struct errtext *err);
	int (*hold_qemu)(const struct ram_keep *keep, int *pidfd, struct errtext *err);
	int (*signal_process)(int pidfd, int signal, struct errtext *err);
	bool (*process_has_ended)(int pidfd);

	/* page_link.h: page_link_resume, page_link_judge, page_link_destroy */
	int (*resume_link)(const struct page_link_options *options, struct page_link **out,
			   struct errtext *err);
	int (*judge_link)(struct page_link *l, const char *domain, const char *host,
			  struct errtext *err);
	void (*destroy_link)(struct page_link *l);

	/* server.h: server_run */
	int (*run_server)(const struct server_options *options, struct errtext *err);

	/* monitor_log.h: monitor_log_find_qemu, monitor_log_end_unless_resumed, monitor_log_quiet
	 */
	int (*find_qemu)(const char *monitor_path, pid_t *qemu, uint64_t *started);
	/* process_thread.h: process_thread_is_qemu */
	bool (*is_qemu)(pid_t pid, const char *uuid);
	int (*end_unless_resumed)(pid_t qemu, uint64_t started, const char *monitor_path,
				  bool released, struct errtext *err);
	void (*quiet_monitor)(const char *monitor_path);

	/* CLOCK_MONOTONIC, in microseconds */
	uint64_t (*now_us)(void);
	void (*pause)(uint64_t for_us);
};

/* The one there is when nothing is tested. */
const struct recover_world *recover_world_real(void);
