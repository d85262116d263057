// SPDX-License-Identifier: Apache-2.0
// The functions of the world of fake_outgoing.h.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- calls that can fail ---- */

/* True, with *err set, if it is this one's turn. */
static inline bool world_fails(const char *what, struct errtext *err)
{
	if (world.on_call)
		world.on_call(what);
	if (++world.calls != world.fail_at)
		return false;
	snprintf(world.failed, sizeof(world.failed), "%s", what);
	world.failed_in = world.o ? world.o->phase : PHASE_CONNECT;
	errtext_set(err, world.fail_code, "%s fails, as the test wants it", what);
	return true;
}

static inline void world_before_libvirt(void *opaque, struct fake_libvirt *l, enum fake_call call)
{
	static const char *const names[FAKE_CALL_END_] = {
		[FAKE_OPEN] = "libvirt: open",
		[FAKE_REOPEN] = "libvirt: reopen",
		[FAKE_HOST_UUID] = "libvirt: host UUID",
		[FAKE_QEMU_OWNER] = "libvirt: QEMU's owner",
		[FAKE_FIND] = "libvirt: find",
		[FAKE_STATE] = "libvirt: state",
		[FAKE_DOMAIN_XML] = "libvirt: XML",
		[FAKE_MONITOR] = "libvirt: monitor",
		[FAKE_SET_IGNORE_SHARED] = "libvirt: x-ignore-shared",
		[FAKE_KNOWS_CAPABILITY] = "libvirt: capability",
		[FAKE_UNSTICK_JOB] = "libvirt: unstick job",
		[FAKE_RESUME] = "libvirt: resume",
		[FAKE_SUSPEND] = "libvirt: suspend",
		[FAKE_DESTROY] = "libvirt: destroy",
		[FAKE_UNDEFINE] = "libvirt: undefine",
		[FAKE_GET_MAX_DOWNTIME] = "libvirt: get max downtime",
		[FAKE_SET_MAX_DOWNTIME] = "libvirt: max downtime",
		[FAKE_WATCH] = "libvirt: watch",
	};

	(void)opaque;
	if (call == FAKE_ABORT_JOB) {
		world_note("abort job");
		world_at(2000, world_job_fails, 0);
		return;
	}
	cr_assert_not_null(names[call], "call %d", call);
	if (call == FAKE_RESUME || call == FAKE_SUSPEND || call == FAKE_SET_IGNORE_SHARED ||
	    call == FAKE_DESTROY || call == FAKE_UNDEFINE)
		world_note(names[call] + strlen("libvirt: "));
	if (!world_fails(names[call], NULL))
		return;
	fake_libvirt_heal(l); /* of what it failed at last */
	fake_libvirt_fail(l, call, 1, world.fail_code);
}

static inline int world_check_process(struct errtext *err)
{
	return world_fails("check process", err) ? world.fail_code : 0;
}

static inline int world_check_guest(struct host *host, const char *domain,
				    struct guest_facts *facts, struct errtext *err)
{
	struct ram_block ram = {.name = "pc.ram", .size = WORLD_RAM, .page_size = 4096};
	int ret;

	if (world_fails("check guest", err))
		return world.fail_code;
	ret = host_find(host, domain, &facts->info, err);
	if (ret < 0)
		return ret;
	facts->qemu = world.web->qemu;
	facts->xml.direct_disks = world.direct_disks;
	facts->adds_monitor = world.adds_monitor;
	snprintf(facts->monitor_path, sizeof(facts->monitor_path), "%s",
		 world.private_monitor ? "/private" : "");
	if (world.replugged || world.ram_fd < 0) { /* for as long as the test's process lives */
		world.ram_fd = memfd_create("pc.ram", MFD_CLOEXEC);
		cr_assert_eq(ftruncate(world.ram_fd, WORLD_RAM), 0);
	}
	ram.fd = fcntl(world.ram_fd, F_DUPFD_CLOEXEC, 3);
	if (world.private)
		ram.private_to = getpid();
	else
		ram.map = mmap(NULL, WORLD_RAM, PROT_READ, MAP_SHARED, ram.fd, 0);
	ram.sent_by_qemu = world.strained || world.private;
	cr_assert_eq(ram_map_add(&facts->ram, &ram, NULL), 0);
	return 0;
}

static inline int world_check_locked(struct host *host, const char *uuid, pid_t qemu,
				     bool adds_monitor, const struct ram_backends *backends,
				     struct guest_facts *facts, struct errtext *err)
{
	int ret = world_check_guest(host, uuid, facts, err);

	(void)backends;
	cr_assert_eq(adds_monitor, world.adds_monitor);
	facts->qemu = qemu;
	facts->xml.direct_disks += world.plugged_in;
	return ret;
}

static inline int world_other_mappers(const struct ram_map *map, pid_t qemu, pid_t self,
				      pid_t *other, struct errtext *err)
{
	(void)map;
	cr_assert(qemu == world.web->qemu && self == getpid());
	*other = world.mapper;
	return world_fails("other mappers", err) ? world.fail_code : 0;
}

static inline int world_hold_process(pid_t pid, int *pidfd, struct errtext *err)
{
	cr_assert_eq(pid, world.web->qemu);
	if (world_fails("hold QEMU", err))
		return world.fail_code;
	*pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

static inline int world_lend_to_guard(int fd, int lent)
{
	cr_assert_eq(fd, world.guard[1]);
	cr_assert_geq(lent, 0);
	world_note("lend");
	return world_fails("lend to guard", NULL) ? world.fail_code : 0;
}

/* A QEMU that is stopped does not run its guest, whoever asks it to. */
static inline int world_signal_process(int pidfd, int signal, struct errtext *err)
{
	(void)err;
	cr_assert_geq(pidfd, 0);
	world_note(signal == SIGSTOP   ? "stop QEMU"
		   : signal == SIGCONT ? "continue QEMU"
				       : "kill QEMU");
	world.frozen = signal == SIGSTOP;
	if (signal == SIGKILL) {
		cr_expect(world.link_over, "%s", "its memory has not gone");
		world.qemu_ended = true;
		world.web->info.state = DOMAIN_SHUT_OFF;
	}
	return 0;
}

static inline bool world_process_has_ended(int pidfd)
{
	cr_assert_geq(pidfd, 0);
	return world.qemu_ended;
}

static inline int world_open_monitor(const char *path, int timeout_ms, struct qmp **out,
				     struct errtext *err)
{
	(void)timeout_ms;
	cr_assert_str_eq(path, "/private");
	*out = NULL;
	world.monitor = "private";
	return world_fails("open monitor", err) ? world.fail_code : 0;
}

static inline int world_add_monitor(struct host *host, const char *uuid, int timeout_ms,
				    struct qmp **out, struct errtext *err)
{
	(void)host;
	(void)timeout_ms;
	cr_assert_str_eq(uuid, WORLD_UUID);
	cr_assert_not(world.job_runs, "libvirt's monitor is closed");
	cr_assert_eq(world.monitor, NULL);
	*out = NULL;
	if (world_fails("add monitor", err))
		return world.fail_code;
	world.monitor = "added";
	return 0;
}

/* Of the guest's disks; by the thread that begins a round, as the workers would. */
static inline int world_look(struct disk_flight *f, struct qmp *q, bool watch, int timeout_ms,
			     struct disk_flight_view *view, struct errtext *err)
{
	unsigned int i = world.looks++;

	(void)timeout_ms;
	(void)err;
	cr_assert_not_null(f);
	cr_assert_null(q, "as the fake monitors are");
	cr_assert_eq(watch, i == world.watched);
	*view = world.disks[i < WORLD_LOOKS ? i : WORLD_LOOKS - 1];
	view->disks = world.disks_told;
	return world.look_result;
}

static inline int world_drain(struct qmp *q, int timeout_ms, struct errtext *err)
{
	(void)q;
	(void)timeout_ms;
	world.drains++;
	return world.drain_result < 0 ? errtext_set(err, world.drain_result, "no drain") : 0;
}

static inline void world_quiesce(void)
{
	struct errtext err = {0};
	bool settled = false;

	world.watched = world.looks;
	cr_assert_eq(world.source.quiesce(world.source.opaque, &settled, &err), 0, "%s", err.text);
	world.suspect = !settled;
}

static inline int world_join_queue(const char *dir, struct slot **out, struct errtext *err)
{
	char path[64];

	(void)dir;
	snprintf(path, sizeof(path), "%s/outbound", world.dir);
	return world_fails("join queue", err) ? world.fail_code : slot_join(path, out, err);
}

static inline int world_open_dir(struct guest_dir *d, const char *uuid, uid_t uid, gid_t gid,
				 struct errtext *err)
{
	(void)uid;
	(void)gid;
	guest_dir_paths(d, uuid);
	snprintf(d->control, sizeof(d->control), "%s/control.sock", world.dir);
	if (world.locked) {
		world.locked--;
		return errtext_set(err, -EBUSY, "another dray is working on this guest");
	}
	return world_fails("open directory", err) ? world.fail_code : 0;
}

static inline int world_write_record(const struct guest_dir *d, enum record_kind kind,
				     const struct record *r, struct errtext *err)
{
	(void)d;
	cr_assert_eq(kind, RECORD_OUTGOING);
	if (world_fails("write record", err))
		return world.fail_code;
	world_note(r->released ? "record released" : "record");
	world.recorded = true;
	world.record = *r;
	return 0;
}

static inline int world_read_record(const struct guest_dir *d, enum record_kind kind,
				    struct record *r, struct errtext *err)
{
	(void)d;
	(void)err;
	cr_assert_eq(kind, RECORD_OUTGOING);
	*r = (struct record){0};
	snprintf(r->discard, sizeof(r->discard), "%s", world.debts);
	return world.debts[0] ? 0 : -ENOENT;
}

static inline void world_forget_monitor(const struct guest_dir *d)
{
	(void)d;
}

static inline void world_remove_record(const struct guest_dir *d, enum record_kind kind)
{
	(void)d;
	(void)kind;
	world_note("no record");
	world.recorded = false;
}

static inline int world_start_guard(const char *uuid, const char *session,
				    const char *libvirt_socket, const struct ram_keep *ram, int *fd,
				    pid_t *pid, struct errtext *err)
{
	(void)uuid;
	cr_expect_eq(strlen(session), 2 * WIRE_SESSION_SIZE);
	(void)libvirt_socket;
	cr_assert_eq(ram->count, 1);
	if (world_fails("start guard", err))
		return world.fail_code;
	cr_assert_eq(pipe2(world.guard, O_CLOEXEC | O_NONBLOCK), 0);
	*fd = world.guard[1];
	*pid = 4711;
	return 0;
}

static inline int world_dial(const struct peer *peer, enum wire_kind kind, unsigned int index,
			     struct line *line, struct door_terms *terms, struct errtext *err)
{
	int ends[2];

	(void)peer;
	(void)index;
	if (world_fails(kind == WIRE_KIND_CONTROL ? "dial control" : "dial RAM", err))
		return world.fail_code;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	close(ends[1]);
	*line = line_plain(ends[0]);
	if (terms)
		terms->features = world.features;
	if (terms)
		memset(&terms->host, 7, sizeof(terms->host));
	return 0;
}

static inline int world_ask(const struct peer *peer, enum wire_type question,
			    const uint8_t uuid[16], enum wire_state *state, struct errtext *err)
{
	(void)peer;
	(void)question;
	(void)uuid;
	world_note("ask");
	world_pause(10000); /* an answer takes so long, and nothing stands still */
	if (world_fails("ask", err))
		return world.fail_code;
	if (world.answer == WORLD_NOBODY)
		return errtext_set(err, -EHOSTUNREACH, "nobody answers");
	if (world.answer == WORLD_IGNORANT)
		return errtext_set(err, -ENODATA, "there does not know: it was shut off");
	if (!world.answer && !world.lives_there)
		world.given_up_there = true; /* whoever says so keeps to it */
	*state = world.answer	     ? world.answer
		 : world.lives_there ? WIRE_STATE_RUNNING
				     : WIRE_STATE_ABSENT;
	return 0;
}

/* ---- control ---- */

static inline int world_control_new(const struct control_options *options, struct control **out,
				    struct errtext *err)
{
	close(options->line.fd);
	if (world_fails("control", err))
		return world.fail_code;
	world.o = options->opaque;
	world.control = *options;
	world.alive++;
	*out = (struct control *)&world.control;
	cr_assert_eq(options->first->type, WIRE_PREPARE);
	if (world.features && world.strained)
		world_at(500, world_says, WIRE_BACKING);
	world_at(1000, world_says, WIRE_PREPARED);
	return 0;
}

/* What happens once the destination may run the guest, if nothing goes wrong. */
static inline void world_is_released(void)
{
	world_at(2000, world_begins_there, 0);
	world_at(5000, world_job_is_done, 0);
}

static inline int world_control_send(struct control *c, const struct wire_message *m)
{
	char what[32];

	cr_assert_eq((void *)c, (void *)&world.control);
	snprintf(what, sizeof(what), "send %s", wire_type_name(m->type));
	if (m->type != WIRE_ABORT && world_fails(what, NULL))
		return world.fail_code;
	world_note(wire_type_name(m->type));
	if (world.lost)
		return 0; /* the kernel takes it */
	if (m->type == WIRE_ABORT && !world.lives_there)
		world.given_up_there = true;
	else if (m->type == WIRE_LISTEN)
		world_at(1000, world_says, WIRE_LISTENING);
	else if (m->type == WIRE_DIGEST_REQUEST)
		world_at(1000, world_says, WIRE_DIGEST);
	else if (m->type == WIRE_FINISH)
		world_at(1000, world_says, WIRE_FINISHED);
	else if (m->type == WIRE_RELEASE) {
		world.released = true;
		(world.on_release ? world.on_release : world_is_released)();
	}
	return 0;
}

static inline void world_control_set_silence(struct control *c, uint32_t silence_ms)
{
	(void)c;
	(void)silence_ms;
}

static inline void world_control_clock(struct control *c, int64_t *offset_us, uint64_t *trip_us)
{
	(void)c;
	*offset_us = 100;
	*trip_us = 50;
}

static inline bool world_control_is_up(struct control *c)
{
	(void)c;
	return !world.lost && !world_fails("control is up", NULL);
}

static inline void world_control_destroy(struct control *c)
{
	if (!c)
		return;
	world.alive--;
	memset(&world.control, 0, sizeof(world.control));
	world.lost = true;
}

/* ---- gate, forwards, job ---- */

static inline void world_stops(uint64_t arg)
{
	(void)arg;
	if (!world.stopping || world.never_stops)
		return;
	if (!world_runs_here())
		return;
	world.web->info.state = DOMAIN_PAUSED_MIGRATION;
	fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_STOP,
			  WORLD_EPOCH_US + world.now_us);
}

static inline void world_is_at_rest(uint64_t arg)
{
	(void)arg;
	if (world.stopping && !world.never_stops && !world.qemu_ended)
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_AT_REST,
				  WORLD_EPOCH_US + world.now_us);
}

/* QEMU has saved its devices, and was told that all has arrived. */
static inline void world_completes(uint64_t arg)
{
	(void)arg;
	if (world.stopping && !world.never_stops && !world.never_completes)
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_COMPLETED,
				  WORLD_EPOCH_US + world.now_us);
}

/* `virsh domjobabort` while QEMU's migration has not completed: the guest runs on, and the job
 * fails. */
static inline void world_is_cancelled(uint64_t arg)
{
	(void)arg;
	if (!world.stopping)
		return;
	fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_CANCELLED,
			  WORLD_EPOCH_US + world.now_us);
	if (world.web->info.state == DOMAIN_PAUSED_MIGRATION) {
		world.web->info.state = DOMAIN_RUNNING;
		fake_libvirt_fire(world.libvirt, WORLD_UUID, QEMU_EVENT_RESUME,
				  WORLD_EPOCH_US + world.now_us);
	}
	world_at(100, world_job_fails, 0);
}

static inline int world_gate_new(const struct gate_options *options, struct gate **out,
				 struct errtext *err)
{
	if (world_fails("gate", err))
		return world.fail_code;
	world.gate = *options;
	world.alive++;
	*out = (struct gate *)&world.gate;
	return 0;
}

static inline void world_stops_soon(void)
{
	world_at(5000, world_stops, 0);
	world_at(6000, world_is_at_rest, 0);
	world_at(6500, world_completes, 0);
}

/* QEMU sends, and nobody reads before the word. */
static inline void world_connects(uint64_t arg)
{
	(void)arg;
	world.qemu_stream.begun(world.qemu_stream.opaque);
}

static inline void world_gate_open(struct gate *g)
{
	(void)g;
	world_note("gate open");
	world.gate_open = true;
	if (!world.job_runs)
		return;
	if (world.domjobabort) { /* libvirt tells now, and ends the QEMU there first */
		world_at(900, world_says, WIRE_ABORT);
		world_at(1500, world_job_is_aborted, 0);
		return;
	}
	world.stopping = true;
	if (world.qemu_stream.strain)
		world_at(500, world_connects, 0);
	else
		world_stops_soon();
}

static inline bool world_gate_forbid(struct gate *g, bool all)
{
	(void)g;
	world_note(all ? "forbid all" : "forbid");
	if (world_fails("gate forbid", NULL))
		return false;
	world.forbids_all = all;
	world.forbidden = true;
	return true;
}

/* The one thing that must never be: both run. */
static inline void world_gate_permit(struct gate *g)
{
	(void)g;
	world_note("permit");
	cr_expect_not(world.lives_there && !world.arrived,
		      "the guest may resume here, and runs there");
	world.permitted = true;
	cr_expect(!world.arrived || world.link_over, "its memory has not gone");
	if (world.arrived)
		world_at(1000, world_job_is_done, 0);
	else if (world.confirming)
		world_at(1000, world_confirms, 0);
}

static inline int world_gate_share(struct gate *g, int *fd)
{
	(void)g;
	if (world_fails("share gate", NULL))
		return world.fail_code;
	*fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return 0;
}

static inline void world_gate_cut(struct gate *g)
{
	(void)g;
	world_note("cut gate");
	world_at(1000, world_job_is_cut, 0);
}

static inline void world_gate_destroy(struct gate *g)
{
	world.alive -= g != NULL;
}

static inline int world_forward_new(const struct forward_options *options, struct forward **out,
				    struct errtext *err)
{
	bool is_tunnel = options->kind == WIRE_KIND_TUNNEL;
	struct forward_options *f = is_tunnel ? &world.tunnel : &world.qemu_stream;

	if (world_fails(is_tunnel ? "tunnel" : "QEMU's stream", err))
		return world.fail_code;
	*f = *options;
	world.alive++;
	*out = (struct forward *)f;
	return 0;
}

static inline void world_forward_go(struct forward *f)
{
	cr_assert_eq(f, (struct forward *)&world.qemu_stream);
	world_note("go");
	if (world.garbled)
		world.qemu_stream.ended(world.qemu_stream.opaque, -EPROTO, "a section of chalk");
	else
		world_stops_soon();
}

static inline void world_forward_hasten(struct forward *f)
{
	cr_expect_eq((void *)f, (void *)&world.qemu_stream);
	world.hastened = true;
}

static inline void world_forward_cut(struct forward *f)
{
	bool is_tunnel = f == (struct forward *)&world.tunnel;

	world_note(is_tunnel ? "cut tunnel" : "cut stream");
	world.tunnel_cut |= is_tunnel;
	if (is_tunnel && world.released)
		world_at(1000, world_job_fails, 0);
	else if (!is_tunnel && world.gate_open)
		world_at(1000, world_job_fails, 0);
}

static inline uint64_t world_forward_bytes(struct forward *f)
{
	(void)f;
	return 1000;
}

static inline void world_forward_destroy(struct forward *f)
{
	world.alive -= f != NULL;
}

static inline void world_holds_perform(uint64_t arg)
{
	(void)arg;
	if (world.job_runs)
		world.gate.perform_held(world.gate.opaque);
}

static inline int world_job_start(const struct libvirt_job_options *options,
				  struct libvirt_job **out, struct errtext *err)
{
	if (world_fails("start job", err))
		return world.fail_code;
	world.job = *options;
	snprintf(world.job_xml, sizeof(world.job_xml), "%s", options->destination_xml);
	world.job_runs = world.web->info.job = true;
	world.alive++;
	*out = (struct libvirt_job *)&world.job;
	world_at(3000, world_holds_perform, 0);
	world_at(4000, world_says, WIRE_READY);
	return 0;
}

static inline void world_job_join(struct libvirt_job *job)
{
	if (!job)
		return;
	cr_expect_not(world.job_runs, "this would wait for ever");
	world.alive--;
}

/* ---- rounds ---- */

static inline int world_borrow(pid_t qemu, unsigned long long features, bool keep_inside, int *uffd,
			       int *inside, struct errtext *err)
{
	(void)features;
	(void)keep_inside;
	(void)inside;
	cr_assert_eq(qemu, world.web->qemu);
	*uffd = -1;
	return world_fails("borrow userfaultfd", err) ? world.fail_code : 0;
}

static inline int world_tracker_new(int uffd, int pid, const struct ram_map *ram,
				    struct tracker **out, struct errtext *err)
{
	(void)uffd;
	(void)pid;
	(void)ram;
	if (world_fails("tracker", err))
		return world.fail_code;
	world.alive++;
	*out = (struct tracker *)&world;
	return 0;
}

static inline void world_tracker_destroy(struct tracker *t)
{
	if (!t)
		return;
	world_note("untrack");
	world.alive--;
}

static inline int world_source_new(const struct source_options *options, struct source **out,
				   struct errtext *err)
{
	if (world_fails("source", err))
		return world.fail_code;
	world.source = *options;
	world.alive++;
	*out = (struct source *)&world.source;
	return 0;
}

static inline void world_round_ends(int result, uint64_t pages)
{
	struct source_round round = {.result = result, .pages = pages, .duration_us = 1000};

	if (!world.round_runs)
		return;
	world.round_runs = false;
	round.live = world.kind == SOURCE_ROUND_LIVE;
	round.suspect = world.suspect;
	round.suspects = world.suspect ? world.suspects : 0;
	if (result)
		snprintf(round.err.text, sizeof(round.err.text), "the round failed");
	world.stats.pages_sent += pages;
	world.source.round_done(world.source.opaque, &round);
}

static inline void world_round_is_done(uint64_t pages)
{
	world_round_ends(0, pages);
}

static inline void world_round_is_aborted(uint64_t arg)
{
	(void)arg;
	world_round_ends(-ECANCELED, 0);
}

static inline void world_round_fails(uint64_t arg)
{
	(void)arg;
	world_round_ends(world.late_ret, 0);
}

/* The first live round finds much, each later one what the test says. */
static inline void world_round_start(struct source *s, uint32_t round, enum source_round_kind kind)
{
	(void)s;
	cr_assert_not(world.round_runs, "one at a time");
	world.round_runs = true;
	world.kind = kind;
	world.suspect = false;
	if (kind == SOURCE_ROUND_LIVE && world.source.quiesce && world.hurried)
		world.suspect = true; /* who hurries does not ask */
	else if (kind == SOURCE_ROUND_LIVE && world.source.quiesce)
		world_quiesce();
	if (kind == SOURCE_ROUND_LAST)
		world.mute |= world.mute_last;
	if (world.record.released && world.late_ret) {
		world_at(world.round_us, world_round_fails, 0);
		return;
	}
	world_at(world.round_us, world_round_is_done,
		 world.record.released ? world.late
		 : round == 1	       ? WORLD_RAM / 4096
				       : world.pages[kind]);
	if (kind != SOURCE_ROUND_CHECK)
		world_at(world.round_us + 500, world_syncs, round);
}

static inline void world_source_hurry(struct source *s)
{
	(void)s;
	world.hurried = true;
}

static inline void world_source_abort(struct source *s)
{
	(void)s;
	world_note("abort round");
	world_at(0, world_round_is_aborted, 0);
}

static inline void world_source_stats(const struct source *s, struct source_stats *stats)
{
	(void)s;
	*stats = world.stats;
}

static inline void world_source_destroy(struct source *s)
{
	world.alive -= s != NULL;
}

static inline int world_throttle_new(pid_t qemu, struct throttle **out, struct errtext *err)
{
	(void)qemu;
	if (world_fails("throttle", err))
		return world.fail_code;
	world.alive++;
	*out = (struct throttle *)&world;
	return 0;
}

static inline void world_throttle_set(struct throttle *t, unsigned int percent)
{
	(void)t;
	world_note(percent ? "throttle" : "throttle 0");
}

static inline int world_throttle_result(struct throttle *t, struct errtext *err)
{
	(void)t;
	return world_fails("throttle result", err) ? world.fail_code : 0;
}

static inline void world_throttle_destroy(struct throttle *t)
{
	if (!t)
		return;
	world_note("unthrottle");
	world.alive--;
}

static inline int world_make_digest(const struct ram_map *ram, unsigned int threads,
				    const atomic_bool *cancel, struct wire_digest *out,
				    struct errtext *err)
{
	(void)ram;
	(void)threads;
	(void)cancel;
	*out = world_digest;
	return world_fails("digest", err) ? world.fail_code : 0;
}

/* ---- the page link ---- */

static inline int world_link_new(const struct page_link_options *options, struct page_link **out,
				 struct errtext *err)
{
	if (world_fails("page link", err))
		return world.fail_code;
	world.link = *options;
	world.alive++;
	*out = (struct page_link *)&world.link;
	return 0;
}

static inline int world_link_serve(struct page_link *l, struct source *source, bool gives_back,
				   struct errtext *err)
{
	(void)l;
	(void)source;
	world.gives_back = world.link.gives_back || gives_back;
	return world_fails("serve pages", err) ? world.fail_code : 0;
}

static inline void world_link_changes(uint64_t state)
{
	world.link_over |= state == PAGE_LINK_COMPLETE || state == PAGE_LINK_ENDED;
	if (world.link.changed)
		world.link.changed(world.link.opaque, (enum page_link_state)state, "link");
}

static inline void world_link_push(struct page_link *l)
{
	(void)l;
	world_note("push");
	if (world.lives_there)
		world_at(20000, world_link_changes, world.link_end);
}

static inline void world_link_stats(struct page_link *l, struct page_server_stats *stats)
{
	(void)l;
	*stats = (struct page_server_stats){.pages_left = 10};
}

static inline uint64_t world_link_bytes(struct page_link *l)
{
	(void)l;
	return 1000;
}

static inline void world_link_result(struct page_link *l, struct wire_complete *result)
{
	(void)l;
	*result = (struct wire_complete){.faults = 3};
}

static inline void world_link_proof(struct page_link *l, struct proof_result *result)
{
	(void)l;
	*result = (struct proof_result){.equal = 5, .complete = world.judgement <= 0};
}

static inline int world_link_judge(struct page_link *l, const char *domain, const char *host,
				   struct errtext *err)
{
	(void)l;
	return world.judgement < 0
		       ? errtext_set(err, world.judgement, "%s on %s is damaged", domain, host)
		       : 0;
}

static inline void world_link_destroy(struct page_link *l)
{
	if (!l)
		return;
	world_note("unlink");
	world.alive--;
	memset(&world.link, 0, sizeof(world.link));
}

static const struct outgoing_world world_functions = {
	.now_us = world_now_us,
	.pause = world_pause,
	.take_mail = world_take_mail,
	.check_process = world_check_process,
	.check_guest = world_check_guest,
	.check_locked = world_check_locked,
	.other_mappers = world_other_mappers,
	.hold_process = world_hold_process,
	.process_has_ended = world_process_has_ended,
	.signal_process = world_signal_process,
	.open_monitor = world_open_monitor,
	.add_monitor = world_add_monitor,
	.disks = {world_look, world_drain},
	.join_queue = world_join_queue,
	.open_dir = world_open_dir,
	.write_record = world_write_record,
	.read_record = world_read_record,
	.remove_record = world_remove_record,
	.forget_monitor = world_forget_monitor,
	.start_guard = world_start_guard,
	.lend_to_guard = world_lend_to_guard,
	.dial = world_dial,
	.ask = world_ask,
	.control = {world_control_new, world_control_send, world_control_set_silence,
		    world_control_clock, world_control_is_up, world_control_destroy},
	.gate = {world_gate_new, world_gate_open, world_gate_forbid, world_gate_permit,
		 world_gate_share, world_gate_cut, world_gate_destroy},
	.forward = {world_forward_new, world_forward_go, world_forward_hasten, world_forward_cut,
		    world_forward_bytes, world_forward_destroy},
	.job = {world_job_start, world_job_join},
	.borrow_userfaultfd = world_borrow,
	.tracker = {world_tracker_new, world_tracker_destroy},
	.source = {world_source_new, world_round_start, world_source_hurry, world_source_abort,
		   world_source_stats, world_source_destroy},
	.throttle = {world_throttle_new, world_throttle_set, world_throttle_result,
		     world_throttle_destroy},
	.digest = world_make_digest,
	.link = {world_link_new, world_link_serve, world_link_push, world_link_stats,
		 world_link_bytes, world_link_result, world_link_proof, world_link_judge,
		 world_link_destroy},
};
