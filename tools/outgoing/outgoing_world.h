// SPDX-License-Identifier: Apache-2.0
// What a migration reaches outside of its own state: QEMU, the destination, libvirt's job, the
// guest's files, and time.
//
// Each function is that of its own header, to which owners, threads and errors belong. Tests put
// others in their place (tests/unit/fake_world.h), so that every step can fail, and everything
// happen in every order, without a guest and without waiting. What has a table of its own is not
// here: host.h, byte_stream.h.
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include "control.h"
#include "disk_flight.h"
#include "door.h"
#include "forward.h"
#include "gate.h"
#include "guest_check.h"
#include "guest_dir.h"
#include "libvirt_job.h"
#include "mailbox.h"
#include "ownership.h"
#include "page_link.h"
#include "qmp.h"
#include "record.h"
#include "slot.h"
#include "source.h"
#include "throttle.h"
#include "tracker.h"

struct outgoing_world {
	/* CLOCK_MONOTONIC, in microseconds */
	uint64_t (*now_us)(void);
	void (*pause)(uint64_t for_us);
	/* mailbox.h: the driving thread waits nowhere else for what happens */
	void (*take_mail)(struct mailbox *m, uint64_t deadline_us, struct mail *mail);

	/* guest_check.h, qmp.h */
	int (*check_process)(struct errtext *err);
	int (*check_guest)(struct host *host, const char *domain, struct guest_facts *facts,
			   struct errtext *err);
	int (*check_locked)(struct host *host, const char *uuid, pid_t qemu, bool adds_monitor,
			    const struct ram_backends *backends, struct guest_facts *facts,
			    struct errtext *err);
	/* ram_find.h */
	int (*other_mappers)(const struct ram_map *map, pid_t qemu, pid_t self, pid_t *other,
			     struct errtext *err);
	/* process.h, of QEMU here */
	int (*hold_process)(pid_t pid, int *pidfd, struct errtext *err);
	bool (*process_has_ended)(int pidfd);
	int (*signal_process)(int pidfd, int signal, struct errtext *err);
	/* qmp.h, added_monitor.h */
	int (*open_monitor)(const char *path, int timeout_ms, struct qmp **out,
			    struct errtext *err);
	int (*add_monitor)(struct host *host, const char *uuid, int timeout_ms, struct qmp **out,
			   struct errtext *err);
	/* disk_flight.h, qmp.h; of that monitor. By workers, as outgoing_disks.h has it. */
	struct {
		int (*look)(struct disk_flight *f, struct qmp *q, bool watch, int timeout_ms,
			    struct disk_flight_view *view, struct errtext *err);
		int (*drain)(struct qmp *q, int timeout_ms, struct errtext *err);
	} disks;

	/* slot.h, guest_dir.h, record.h, guard.h */
	int (*join_queue)(const char *dir, struct slot **out, struct errtext *err);
	int (*open_dir)(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid,
			struct errtext *err);
	int (*write_record)(const struct guest_dir *d, enum record_kind kind,
			    const struct record *r, struct errtext *err);
	int (*read_record)(const struct guest_dir *d, enum record_kind kind, struct record *r,
			   struct errtext *err);
	void (*remove_record)(const struct guest_dir *d, enum record_kind kind);
	void (*forget_monitor)(const struct guest_dir *d);
	int (*start_guard)(const char *uuid, const char *session, const char *libvirt_socket,
			   const struct ram_keep *ram, int *fd, pid_t *pid, struct errtext *err);
	int (*lend_to_guard)(int fd, int lent);

	/* door.h, ownership.h */
	int (*dial)(const struct peer *peer, enum wire_kind kind, unsigned int index,
		    struct line *line, struct door_terms *terms, struct errtext *err);
	ownership_ask_fn *ask;

	struct {
		int (*new)(const struct control_options *options, struct control **out,
			   struct errtext *err);
		int (*send)(struct control *c, const struct wire_message *message);
		void (*set_silence)(struct control *c, uint32_t silence_ms);
		void (*clock)(struct control *c, int64_t *offset_us, uint64_t *round_trip_us);
		bool (*is_up)(struct control *c);
		void (*destroy)(struct control *c);
	} control;

	struct {
		int (*new)(const struct gate_options *options, struct gate **out,
			   struct errtext *err);
		void (*open)(struct gate *g);
		bool (*forbid)(struct gate *g, bool all);
		void (*permit)(struct gate *g);
		int (*share)(struct gate *g, int *fd);
		void (*cut)(struct gate *g);
		void (*destroy)(struct gate *g);
	} gate;

	struct {
		int (*new)(const struct forward_options *options, struct forward **out,
			   struct errtext *err);
		void (*go)(struct forward *f);
		void (*hasten)(struct forward *f);
		void (*cut)(struct forward *f);
		uint64_t (*bytes)(struct forward *f);
		void (*destroy)(struct forward *f);
	} forward;

	struct {
		int (*start)(const struct libvirt_job_options *options, struct libvirt_job **out,
			     struct errtext *err);
		void (*join)(struct libvirt_job *job);
	} job;

	/* attach.h, tracker.h */
	int (*borrow_userfaultfd)(pid_t qemu, unsigned long long features, bool keep_inside,
				  int *uffd, int *inside, struct errtext *err);
	struct {
		int (*new)(int uffd, int pid, const struct ram_map *ram, struct tracker **out,
			   struct errtext *err);
		void (*destroy)(struct tracker *t);
	} tracker;

	struct {
		int (*new)(const struct source_options *options, struct source **out,
			   struct errtext *err);
		void (*round_start)(struct source *s, uint32_t round, enum source_round_kind kind);
		void (*hurry)(struct source *s);
		void (*abort)(struct source *s);
		void (*stats)(const struct source *s, struct source_stats *stats);
		void (*destroy)(struct source *s);
	} source;

	struct {
		int (*new)(pid_t qemu, struct throttle **out, struct errtext *err);
		void (*set)(struct throttle *t, unsigned int percent);
		int (*result)(struct throttle *t, struct errtext *err);
		void (*destroy)(struct throttle *t);
	} throttle;

	/* digest.h */
	int (*digest)(const struct ram_map *ram, unsigned int threads, const atomic_bool *cancel,
		      struct wire_digest *out, struct errtext *err);

	struct {
		int (*new)(const struct page_link_options *options, struct page_link **out,
			   struct errtext *err);
		int (*serve)(struct page_link *l, struct source *source, bool gives_back,
			     struct errtext *err);
		void (*push)(struct page_link *l);
		void (*stats)(struct page_link *l, struct page_server_stats *stats);
		uint64_t (*bytes)(struct page_link *l);
		void (*result)(struct page_link *l, struct wire_complete *result);
		void (*proof)(struct page_link *l, struct proof_result *result);
		int (*judge)(struct page_link *l, const char *domain, const char *host,
			     struct errtext *err);
		void (*destroy)(struct page_link *l);
	} link;
};

/* The one there is when nothing is tested. */
const struct outgoing_world *outgoing_world_real(void);
