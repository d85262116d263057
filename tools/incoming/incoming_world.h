// SPDX-License-Identifier: Apache-2.0
// What a session reaches outside of its own process: libvirt, this host's files, QEMU, and time.
//
// Each function is that of its own header, to which owner, threads and errors belong. Tests put
// others in their place, so that every order of events is tried without a guest and without
// waiting.
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "errtext.h"
#include "host.h"
#include "host_memory.h"
#include "mailbox.h"
#include "memory_dir.h"
#include "qmp.h"
#include "ram_keep.h"
#include "ram_map.h"
#include "record.h"
#include "slot.h"

struct ram_backends;

struct incoming_world {
	/* libvirt_host.h: host_open */
	int (*open_host)(const char *socket_path, struct host **out, struct errtext *err);

	/* memory_dir.h: memory_dir_look */
	int (*look_at_memory_dir)(const char *socket, bool own, struct memory_dir *out,
				  struct errtext *err);
	/* host_memory.h: host_memory_look */
	void (*look_at_memory)(const char *daemon, struct host_memory *out);

	/* slot.h, guest_dir.h, guard.h: slot_join, guest_dir_open, record_find, guard_start */
	int (*join_queue)(const char *dir, struct slot **out, struct errtext *err);
	int (*open_dir)(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid,
			struct errtext *err);
	int (*find_record)(enum record_kind kind,
			   bool (*is)(const struct record *r, const void *what), const void *what,
			   struct guest_dir *d, struct record *r, struct errtext *err);
	int (*start_guard)(const char *uuid, const char *session, const char *libvirt_socket,
			   const struct ram_keep *ram, int *fd, pid_t *pid, struct errtext *err);

	/* qmp.h, ram_find.h, attach.h: qmp_open, ram_find_known, attach_... */
	int (*open_monitor)(const char *path, int timeout_ms, struct qmp **out,
			    struct errtext *err);
	/* process_thread.h: process_thread_is_qemu */
	bool (*is_qemu)(pid_t pid, const char *uuid);
	int (*find_ram)(pid_t qemu, bool writable, const struct ram_backends *known,
			struct ram_map *ram, struct errtext *err);
	int (*borrow_userfaultfd)(pid_t qemu, unsigned long long features, bool keep_inside,
				  int *uffd, int *inside, struct errtext *err);
	int (*find_userfaultfd)(pid_t qemu, int *uffd, int *inside, struct errtext *err);
	int (*close_userfaultfd)(pid_t qemu, int inside, struct errtext *err);
	int (*drop_memory)(pid_t qemu, const struct iovec *ranges, unsigned int n,
			   struct errtext *err);

	/* monitor_log.h: monitor_log_end_unless_resumed */
	int (*end_unless_resumed)(pid_t qemu, uint64_t started, const char *monitor_path,
				  bool released, struct errtext *err);

	/* CLOCK_MONOTONIC, in microseconds */
	uint64_t (*now_us)(void);
	void (*pause)(uint64_t for_us);
	/* mailbox.h: mailbox_take; the session's thread waits nowhere else for what happens */
	void (*take_mail)(struct mailbox *m, uint64_t deadline_us, struct mail *mail);
};

/* The one there is when nothing is tested. */
const struct incoming_world *incoming_world_real(void);
/* Could the guest's directory be taken now? As open_dir, -EBUSY: another dray has it. */
int incoming_world_try_dir(const struct incoming_world *world, const char *uuid,
			   struct errtext *err);
