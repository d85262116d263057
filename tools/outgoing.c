// SPDX-License-Identifier: Apache-2.0
// One migration, as the source drives it: the phases in order, and the mail between.
//
// The driving thread walks down the table below. Inside a phase it waits for mail; whatever goes
// wrong arrives as mail too, is recorded once, and ends the wait. A failure before hand-over
// leads to roll-back; after it, outgoing_handover finds out who has the guest.
#include "outgoing_private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "cleanup.h"
#include "clock.h"
#include "uring_stream.h"

#define PROGRESS_US 250000

static const struct {
	enum phase phase;
	int (*run)(struct outgoing *o);
} steps[] = {
	{PHASE_PREPARE, outgoing_prepare},     {PHASE_ATTACH, outgoing_attach},
	{PHASE_PRECOPY, outgoing_precopy},     {PHASE_SWITCHOVER, outgoing_switchover},
	{PHASE_LAST_PASS, outgoing_last_pass}, {PHASE_VERIFY, outgoing_verify},
	{PHASE_HANDOVER, outgoing_handover},   {PHASE_FINISH, outgoing_finish},
};

void outgoing_defaults(struct outgoing_options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct outgoing_options){
		.streams = cores < 1 ? 1 : (cores > 8 ? 8 : (unsigned int)cores),
		.max_downtime_ms = 300,
		.completion_s_per_gib = 150,
		.connect_ms = 10000,
		.silence_ms = 10000,
		.stopped_ms = 2000,
		.resolve_ms = 30000,
	};
	strcpy(o->socket.congestion, "cubic");
}

int outgoing_fail(struct outgoing *o, int code, const char *fmt, ...)
{
	char text[ERRTEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	errtext_set(&o->err, code, "%s", text);
	if (o->failed == 0)
		o->failed = code;
	return code;
}

void outgoing_enter(struct outgoing *o, enum phase phase)
{
	if (phase_move(&o->phase, phase) < 0)
		abort(); /* the table above is wrong */
	report_event(o->report, "phase", phase, phase_name(phase));
}

uint64_t outgoing_wire_bytes(struct outgoing *o)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; o->streams && i < o->opt->streams; i++)
		if (o->streams[i])
			bytes += uring_stream_bytes(o->streams[i]);
	bytes += o->tunnel ? forward_bytes(o->tunnel) : 0;
	bytes += o->relay ? forward_bytes(o->relay) : 0;
	return bytes;
}

/* ---- mail ---- */

static bool handed_over(const struct outgoing *o)
{
	return phase_owner(o->phase) != OWNER_SOURCE;
}

/* Later only facts and time count: nothing ends a wait early. */
static bool may_give_up(const struct outgoing *o)
{
	return o->phase < PHASE_HANDOVER;
}

static void take_message(struct outgoing *o, struct wire_message *m)
{
	int64_t offset;
	uint64_t trip;

	switch (m->type) {
	case WIRE_PREPARED:
		o->prepared = m->prepared;
		o->got_prepared = true;
		break;
	case WIRE_READY:
		o->got_ready = true;
		break;
	case WIRE_SYNCED:
		o->synced += m->synced.round == o->round;
		break;
	case WIRE_DIGEST:
		o->digest = m->digest;
		o->got_digest = true;
		break;
	case WIRE_RELEASED:
		break; /* RESUMED, or the job's end, is what counts */
	case WIRE_RESUMED:
		control_clock(o->control, &offset, &trip);
		o->resume_us = m->resumed.time_us - (uint64_t)offset;
		o->resumed_there = true;
		o->resumed_us = clock_monotonic_us();
		report_event(o->report, "resumed", o->phase, "the guest runs on the destination");
		break;
	case WIRE_FINISHED:
		o->finished_there = true;
		break;
	case WIRE_ABORT:
		if (!handed_over(o))
			outgoing_fail(o, -ECONNABORTED, "the destination gave up: %s",
				      m->abort.text);
		break;
	default:
		outgoing_fail(o, -EPROTO, "the destination sent %s, which has no place here",
			      wire_type_name(m->type));
	}
	wire_message_destroy(m);
}

/* STOP comes when the vCPUs stand still; QEMU then waits for disk I/O in flight, which may still
 * write guest memory. Only the migration state after that says that memory is at rest. */
static void take_qemu_event(struct outgoing *o, const struct mail *mail)
{
	/* Its user may pause it and let it go on: only the last stop is ours. */
	if (strcmp(mail->text, "RESUME") == 0 && !o->stopped)
		o->stop_us = o->stopped_at_us = 0;
	if (strcmp(mail->text, "STOP") == 0 && o->stop_us == 0) {
		o->stop_us = mail->a;
		o->stopped_at_us = clock_monotonic_us();
	}
	if (strcmp(mail->text, "MIGRATION") == 0 &&
	    (strcmp(mail->status, "pre-switchover") == 0 || strcmp(mail->status, "device") == 0) &&
	    !o->stopped) {
		o->stopped = true;
		if (o->stopped_at_us == 0)
			o->stopped_at_us = clock_monotonic_us();
		if (o->source)
			source_hurry(o->source);
		control_set_silence(o->control, o->opt->stopped_ms);
	}
}

static void take_job_end(struct outgoing *o, const struct mail *mail)
{
	o->job_done = true;
	o->job_result = mail->result;
	snprintf(o->job_text, sizeof(o->job_text), "%s", mail->text);
	if (!handed_over(o))
		outgoing_fail(o, mail->result ? mail->result : -EPROTO, "libvirt: %s",
			      mail->result ? mail->text : "the migration ended before its time");
}

static void take_round_end(struct outgoing *o, const struct mail *mail)
{
	o->round_running = false;
	o->round_pages = mail->a;
	if (mail->result < 0)
		outgoing_fail(o, mail->result, "%s", mail->text);
}

static void take(struct outgoing *o, struct mail *mail)
{
	switch (mail->kind) {
	case MAIL_NONE:
		break;
	case MAIL_MESSAGE:
		take_message(o, &mail->message);
		break;
	case MAIL_CONTROL_LOST:
		o->control_lost = true;
		if (!handed_over(o))
			outgoing_fail(o, mail->result, "lost the destination %s: %s",
				      o->opt->destination, mail->text);
		break;
	case MAIL_ROUND_DONE:
		take_round_end(o, mail);
		break;
	case MAIL_QEMU_EVENT:
		take_qemu_event(o, mail);
		break;
	case MAIL_PERFORM_HELD:
		o->perform_held = true;
		break;
	case MAIL_JOB_DONE:
		take_job_end(o, mail);
		break;
	case MAIL_TUNNEL:
		/* libvirt's library would notice only with its next call, after the hand-over. */
		if (may_give_up(o))
			outgoing_fail(o, -ECONNRESET,
				      "the connection to libvirt on the destination broke%s%s: did "
				      "libvirtd end there?",
				      mail->text[0] ? ": " : "", mail->text);
		break;
	case MAIL_RELAY:
		break; /* QEMU's migration fails, and the job's end tells */
	case MAIL_CANCEL:
		if (handed_over(o))
			break;
		o->cancelled = true;
		outgoing_fail(o, -ECANCELED, "%s", mail->text);
		break;
	case MAIL_CONFIRM_HELD:
		o->confirm_held = true;
		break;
	case MAIL_STREAM_LOST:
		break;
	}
}

static void show_progress(struct outgoing *o)
{
	uint64_t now = clock_monotonic_us();
	struct source_stats stats = {0};
	struct report_progress p = {.phase = o->phase, .round = o->round};
	const struct convergence *c = &o->convergence;

	if (now < o->next_progress_us || handed_over(o) || o->phase < PHASE_PRECOPY)
		return;
	o->next_progress_us = now + PROGRESS_US;
	if (o->source)
		source_stats(o->source, &stats);
	p.total_bytes = ram_map_bytes(&o->ram);
	p.transferred_bytes = outgoing_wire_bytes(o);
	p.bytes_per_s = c->bytes_per_s;
	if (c->rounds == 0 && now > o->precopy_us)
		p.bytes_per_s = p.transferred_bytes * 1000000 / (now - o->precopy_us);
	p.dirty_bytes_per_s = c->dirty_bytes_per_s;
	p.remaining_bytes = c->remaining_bytes;
	if (c->rounds == 0) {
		uint64_t seen = (stats.pages_sent + stats.pages_zero) * RAM_PAGE_SIZE;

		p.remaining_bytes = seen < p.total_bytes ? p.total_bytes - seen : 0;
	}
	p.eta_ms = p.bytes_per_s ? p.remaining_bytes * 1000 / p.bytes_per_s : 0;
	report_progress(o->report, &p);
}

int outgoing_await(struct outgoing *o, until_fn *until, uint64_t timeout_ms, const char *what)
{
	uint64_t deadline = clock_monotonic_us() + timeout_ms * 1000;

	while (!until(o)) {
		uint64_t now = clock_monotonic_us(), wake = now + PROGRESS_US;
		struct mail *mail;

		if (o->failed && may_give_up(o))
			return o->failed;
		if (now >= deadline) {
			if (what)
				outgoing_fail(o, -ETIMEDOUT, "waited %.1f s for %s",
					      (double)timeout_ms / 1000, what);
			return -ETIMEDOUT;
		}
		mail = malloc(sizeof(*mail));
		if (!mail)
			return outgoing_fail(o, -ENOMEM, "out of memory");
		mailbox_take(o->mail, wake < deadline ? wake : deadline, mail);
		take(o, mail);
		free(mail);
		show_progress(o);
	}
	return 0;
}

/* ---- cancel ---- */

struct catcher {
	struct mailbox *mail;
	pthread_t thread;
};

/* Turns signals into mail, until SIGUSR1 from catcher_stop. */
static void *catcher_main(void *arg)
{
	struct catcher *c = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	while (sigwait(&set, &sig) == 0 && sig != SIGUSR1)
		mailbox_note(c->mail, MAIL_CANCEL, -ECANCELED,
			     sig == SIGINT ? "cancelled by SIGINT" : "cancelled by SIGTERM");
	return NULL;
}

static int catcher_start(struct catcher *c, struct mailbox *mail)
{
	c->mail = mail;
	return -pthread_create(&c->thread, NULL, catcher_main, c);
}

static void catcher_stop(struct catcher *c)
{
	pthread_kill(c->thread, SIGUSR1);
	pthread_join(c->thread, NULL);
}

/* ---- the whole ---- */

static int finish_report(struct outgoing *o, const char *result, int status)
{
	struct source_stats stats = {0};
	uint64_t now = clock_monotonic_us();
	struct report_result r = {
		.result = result,
		.domain = o->guest.name[0] ? o->guest.name : o->opt->domain,
		.lane = "direct",
		.mode = "PreCopy",
		.reason = o->err.text,
		.total_ms = ((o->resumed_us ? o->resumed_us : now) - o->begun_us) / 1000,
		.tidy_ms = o->resumed_us ? (now - o->resumed_us) / 1000 : 0,
		.setup_ms = ((o->precopy_us ? o->precopy_us : now) - o->begun_us) / 1000,
		.rounds = o->round,
		.ram_bytes = ram_map_bytes(&o->ram),
		.wire_bytes = outgoing_wire_bytes(o),
		.streams = o->opt->streams,
		.guest_on = phase_owner_name(phase_owner(o->phase)),
		.host = o->opt->destination,
		.verified = o->verified[0] ? o->verified : NULL,
	};

	if (o->source)
		source_stats(o->source, &stats);
	r.pages_sent = stats.pages_sent;
	r.pages_zero = stats.pages_zero;
	r.pages_skipped = stats.pages_skipped;
	if (o->resume_us > o->stop_us && o->stop_us)
		r.downtime_ms = (double)(o->resume_us - o->stop_us) / 1000;
	report_result(o->report, &r);
	return status;
}

/* Walk the phases. Returns the exit status with o->phase final. */
static int walk(struct outgoing *o)
{
	int ret = outgoing_connect(o);

	for (size_t i = 0; ret == 0 && i < sizeof(steps) / sizeof(*steps); i++) {
		if (steps[i].phase == PHASE_VERIFY && !o->opt->verify)
			continue;
		if (steps[i].phase != PHASE_HANDOVER)
			outgoing_enter(o, steps[i].phase);
		ret = steps[i].run(o);
	}
	if (ret == 0) {
		outgoing_enter(o, PHASE_COMPLETED);
		return EXIT_COMPLETED;
	}
	if (phase_is_final(o->phase)) /* handover found out where the guest is */
		return o->phase == PHASE_LOST ? EXIT_OPERATOR : EXIT_FAILED;
	outgoing_rollback(o);
	return o->cancelled ? EXIT_ABORTED : EXIT_FAILED;
}

static const char *result_word(const struct outgoing *o)
{
	switch (o->phase) {
	case PHASE_COMPLETED:
		return "completed";
	case PHASE_ABORTED:
		return "aborted";
	case PHASE_LOST:
		return "lost";
	default:
		return "failed";
	}
}

static int run(struct outgoing *o)
{
	bool refused;
	int status;

	if (outgoing_check(o) < 0) {
		report_event(o->report, "refused", o->phase, o->err.text);
		return finish_report(o, "failed", EXIT_REFUSED);
	}
	status = walk(o);
	/* A receiver that cannot be reached, or will not do, is found before anything is touched.
	 */
	refused = status == EXIT_FAILED && !o->got_prepared && !o->ignore_shared && !o->job;
	return finish_report(o, result_word(o), refused ? EXIT_REFUSED : status);
}

int outgoing_run(const struct outgoing_options *options, struct report *report)
{
	struct outgoing *o = calloc(1, sizeof(*o));
	struct catcher catcher;
	int status;

	if (!o || mailbox_new(&o->mail) < 0 || catcher_start(&catcher, o->mail) < 0) {
		report_error(report, "out of memory");
		return EXIT_REFUSED;
	}
	o->opt = options;
	o->report = report;
	o->guard = -1;
	o->dir.lock = -1;
	o->begun_us = clock_monotonic_us();
	o->peer.socket = options->socket;
	o->peer.socket.user_timeout_ms = 2 * options->silence_ms;
	if (getrandom(o->peer.session, sizeof(o->peer.session), 0) < 0)
		abort();
	status = run(o);
	catcher_stop(&catcher);
	if (outgoing_release_all(o)) {
		mailbox_destroy(o->mail);
		free(o);
	}
	return status;
}
