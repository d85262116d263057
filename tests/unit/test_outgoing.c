// SPDX-License-Identifier: Apache-2.0
// A migration as the source drives it: that each step may fail, and each trouble come at any
// moment, and the guest is where the source says that it is.
#include "outgoing.h"

#include <criterion/criterion.h>
#include "fake_outgoing.h"
#include "stop_cost.h"

TestSuite(outgoing, .timeout = 60);

/* ---- ways to go ---- */

static void plainly(struct outgoing_options *o)
{
	(void)o;
}

static void verified(struct outgoing_options *o)
{
	o->verify = true;
}

static void by_post_copy(struct outgoing_options *o)
{
	o->post_copy_now = o->verify = true;
	world.pages[SOURCE_ROUND_LIVE] = 900;
}

static void paused(struct outgoing_options *o)
{
	(void)o;
	world.web->info.state = DOMAIN_PAUSED_USER;
}

static void transient(struct outgoing_options *o)
{
	(void)o;
	world.web->info.persistent = false;
	world.web->stored_xml = NULL;
}

typedef void way(struct outgoing_options *o);

static int go(way *w)
{
	struct outgoing_options options;

	world_options(&options);
	w(&options);
	return world_run(&options);
}

/* ---- nothing goes wrong ---- */

Test(outgoing, moves_a_guest)
{
	world_setup();
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.trace,
			 "record, x-ignore-shared, gate open, forbid, record released, RELEASE, "
			 "job done, FINISH, no record, abort round, untrack");
	cr_expect_str_eq(world.result.mode, "PreCopy");
	cr_expect_str_eq(world.result.lane, "direct");
	cr_expect_str_eq(world.result.domain, "web");
	cr_expect_str_eq(world.result.verified, "");
	cr_expect_eq(world.result.streams, WORLD_STREAMS);
	cr_expect_eq(world.result.ram_bytes, WORLD_RAM);
	cr_expect_eq(world.result.rounds, 4);
	cr_expect_eq(world.result.pages_sent, WORLD_RAM / 4096 + 10 + 10 + 5);
	/* Stopped by STOP here until RESUME there, whose clock is 100 us ahead of ours. */
	cr_expect_float_eq(world.result.downtime_ms, 5.5, 0.001, "%f", world.result.downtime_ms);
	world_teardown();
}

/* In the world's time, as its own destination's. */
Test(outgoing, tells_what_the_stop_was_made_of)
{
	world_setup();
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	cr_expect(world.result.stopped);
	cr_expect(world.result.stop_known);
	cr_expect_eq(world.result.stop.part[STOP_RELEASE], 10);
	cr_expect_eq(world.result.stop.part[STOP_LOAD], 20);
	cr_expect_eq(world.result.stop.part[STOP_FINISH], 30);
	cr_expect_gt(world.result.stop.part[STOP_LAST_BYTES], 0);
	cr_expect_eq(world.result.stop.downtime_us, 5500);
	cr_expect_leq(stop_table_sum_us(&world.result.stop), 5500);
	cr_expect_float_eq(world.result.predicted_downtime_ms,
			   (double)world.result.stop.predicted_us / 1000, 0.001);
	cr_expect_geq(world.result.stop.predicted_us, STOP_COST_GUEST_US);
	world_teardown();
}

/* What it says does not have to be so. */
Test(outgoing, a_destination_that_tells_nonsense_of_its_parts)
{
	world_setup();
	world.nonsense = true;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	cr_expect(world.result.stop_known);
	cr_expect_leq(world.result.stop.part[STOP_RELEASE], 5500);
	cr_expect_leq(world.result.stop.part[STOP_LOAD], 5500);
	cr_expect_leq(world.result.stop.part[STOP_FINISH], 5500);
	cr_expect_leq(stop_table_sum_us(&world.result.stop), 4 * 5500);
	world_teardown();
}

/* An older one. */
Test(outgoing, a_destination_that_does_not_tell_its_parts)
{
	world_setup();
	world.mute = 1u << WIRE_ARRIVAL;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	cr_expect(world.result.stopped);
	cr_expect_not(world.result.stop_known);
	cr_expect_float_eq(world.result.downtime_ms, 5.5, 0.001, "%f", world.result.downtime_ms);
	world_teardown();
}

Test(outgoing, verifies_before_the_hand_over)
{
	world_setup();
	cr_expect_eq(go(verified), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world_did("DIGEST_REQUEST, forbid, record released, RELEASE"), "%s", world.trace);
	cr_expect_str_eq(world.result.verified, "7369787465656e206c65747465727321");
	world_teardown();
}

Test(outgoing, moves_by_post_copy)
{
	world_setup();
	cr_expect_eq(go(by_post_copy), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(world.record.post_copy);
	/* Nothing is pushed before the guest runs there, and no digest of all RAM is made. */
	cr_expect(world_did("RELEASE, push"), "%s", world.trace);
	cr_expect_not(world_did("DIGEST"));
	cr_expect_str_eq(world.result.mode, "PostCopy");
	cr_expect(world.result.proof);
	cr_expect_eq(world.result.proven.equal, 5);
	cr_expect_eq(world.result.post_copy.faults, 3);
	world_teardown();
}

/* QEMU sends all of its memory, into the strainer, and may stop the guest only for as long as it
 * was told before the first byte was read. */
Test(outgoing, moves_a_guest_whose_memory_qemu_sends)
{
	world_setup();
	world.strained = true;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.trace,
			 "record, gate open, go, forbid, record released, RELEASE, job done, "
			 "FINISH, no record, abort round, untrack");
	cr_expect(strstr(fake_libvirt_did(world.libvirt), "max_downtime=2 web"), "%s",
		  fake_libvirt_did(world.libvirt));
	cr_expect_not(strstr(fake_libvirt_did(world.libvirt), "ignore_shared"));
	world_teardown();
}

/* A memfd, which outlives QEMU: libvirt may end that at once. */
Test(outgoing, post_copies_memory_that_qemu_sends)
{
	world_setup();
	world.strained = true;
	cr_expect_eq(go(by_post_copy), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_str_eq(world.result.mode, "PostCopy");
	cr_expect_not(world_did("forbid all"), "%s", world.trace);
	world_teardown();
}

/* ---- how private memory arrives ---- */

Test(outgoing, private_memory_becomes_shared_where_that_can_be)
{
	world_setup();
	world.strained = true;
	world.features = WIRE_FEATURE_BACKING;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(strstr(world.job_xml, "shared"), "%s", world.job_xml);
	cr_expect_not(world_said("stays private"), "%s", world.said);
	world_teardown();
}

Test(outgoing, private_memory_stays_so_where_it_cannot)
{
	world_setup();
	world.strained = true;
	world.features = WIRE_FEATURE_BACKING;
	world.not_shared = "there is no tmpfs";
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(strstr(world.job_xml, "shared"), "%s", world.job_xml);
	cr_expect(world_said("stays private: there is no tmpfs"), "%s", world.said);
	world_teardown();
}

static void keeping(struct outgoing_options *o)
{
	o->keep_private = true;
}

Test(outgoing, private_memory_stays_so_if_that_is_wanted)
{
	world_setup();
	world.strained = true;
	world.features = WIRE_FEATURE_BACKING;
	cr_expect_eq(go(keeping), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(strstr(world.job_xml, "shared"), "%s", world.job_xml);
	world_teardown();
}

/* It knows shared files only. */
Test(outgoing, an_older_destination)
{
	world_setup();
	world.strained = true;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect(strstr(world.job_xml, "shared"), "%s", world.job_xml);
	world_teardown();
	world_setup();
	world.strained = true;
	cr_expect_eq(go(keeping), EXIT_REFUSED);
	world_judge(EXIT_REFUSED);
	cr_expect(strstr(world.result.reason, "leave out --keep-private"), "%s",
		  world.result.reason);
	world_teardown();
}

/* ---- compression ---- */

static void compressing(struct outgoing_options *o)
{
	o->compression = (struct compression){COMPRESSION_ZSTD, 3};
}

Test(outgoing, compresses_if_that_is_wanted_and_known_there)
{
	world_setup();
	world.features = WIRE_FEATURE_ZSTD;
	world.stats.compressed = (struct compressor_stats){.pages = 5, .bytes = 700};
	cr_expect_eq(go(compressing), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_eq(world.source.compression.kind, COMPRESSION_ZSTD);
	cr_expect_eq(world.source.compression.level, 3);
	cr_expect_eq(world.result.compression.kind, COMPRESSION_ZSTD);
	cr_expect_eq(world.result.compressed.pages, 5);
	cr_expect_eq(world.result.compressed.bytes, 700);
	cr_expect_not(world_said("too old for compression"), "%s", world.said);
	world_teardown();
	world_setup();
	world.features = WIRE_FEATURE_ZSTD;
	cr_expect_eq(go(plainly), EXIT_COMPLETED);
	cr_expect_eq(world.source.compression.kind, COMPRESSION_NONE);
	cr_expect_eq(world.result.compression.kind, COMPRESSION_NONE);
	world_teardown();
}

Test(outgoing, never_compresses_for_an_older_destination)
{
	world_setup();
	world.features = WIRE_FEATURE_BACKING;
	cr_expect_eq(go(compressing), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_eq(world.source.compression.kind, COMPRESSION_NONE);
	cr_expect_eq(world.result.compression.kind, COMPRESSION_NONE);
	cr_expect(world_said("too old for compression"), "%s", world.said);
	world_teardown();
}

Test(outgoing, a_stream_that_cannot_be_strained_ends_it)
{
	world_setup();
	world.strained = world.garbled = true;
	cr_expect_eq(go(plainly), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect(strstr(world.result.reason, "a section of chalk"), "%s", world.result.reason);
	cr_expect(strstr(fake_libvirt_did(world.libvirt), "max_downtime=300 web"), "%s",
		  fake_libvirt_did(world.libvirt));
	world_teardown();
}

Test(outgoing, nothing_is_read_if_qemu_may_stop_as_it_likes)
{
	world_setup();
	world.strained = true;
	fake_libvirt_fail(world.libvirt, FAKE_SET_MAX_DOWNTIME, 1, -EIO);
	cr_expect_eq(go(plainly), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	cr_expect_not(world_did("go"), "%s", world.trace);
	world_teardown();
}

/* Up to what all of the stop may take. */
Test(outgoing, a_guest_that_writes_too_fast_for_qemu_gets_a_longer_stop)
{
	const char *did;

	world_setup();
	world.strained = world.never_stops = true;
	cr_expect_eq(go(plainly), EXIT_FAILED);
	world_judge(EXIT_FAILED);
	did = fake_libvirt_did(world.libvirt);
	cr_expect(strstr(did, "max_downtime=4 web"), "%s", did);
	cr_expect(strstr(did, "max_downtime=256 web"), "%s", did);
	cr_expect_not(strstr(did, "max_downtime=512 web"), "%s", did);
	world_teardown();
}

Test(outgoing, moves_a_paused_guest_as_it_is)
{
	world_setup();
	cr_expect_eq(go(paused), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_not(world.record.running);
	cr_expect_not(world_said("warning"), "%s", world.said);
	world_teardown();
}

Test(outgoing, leaves_no_definition_of_a_transient_guest_behind)
{
	world_setup();
	cr_expect_eq(go(transient), EXIT_COMPLETED);
	world_judge(EXIT_COMPLETED);
	cr_expect_null(world.job.persistent_xml);
	world_teardown();
}

/* ---- every call fails ---- */

struct failure {
	const char *what; /* NULL: the end */
	enum phase in;
	int status;
};

/* The calls until the rounds begin, in their order. */
#define SETUP_FAILS                                                                                \
	{"check process", PHASE_CONNECT, EXIT_REFUSED},                                            \
		{"libvirt: open", PHASE_CONNECT, EXIT_REFUSED},                                    \
		{"check guest", PHASE_CONNECT, EXIT_REFUSED},                                      \
		{"libvirt: find", PHASE_CONNECT, EXIT_REFUSED},                                    \
		{"hold QEMU", PHASE_CONNECT, EXIT_REFUSED},                                        \
		{"libvirt: QEMU's owner", PHASE_CONNECT, EXIT_REFUSED},                            \
		{"open directory", PHASE_CONNECT, EXIT_REFUSED},                                   \
		{"join queue", PHASE_CONNECT, EXIT_REFUSED},                                       \
		{"dial control", PHASE_CONNECT, EXIT_REFUSED},                                     \
		{"libvirt: host UUID", PHASE_CONNECT, EXIT_REFUSED},                               \
		{"control", PHASE_CONNECT, EXIT_REFUSED},                                          \
		{"start guard", PHASE_PREPARE, EXIT_FAILED},                                       \
		{"write record", PHASE_PREPARE, EXIT_FAILED},                                      \
		{"libvirt: QEMU's owner", PHASE_PREPARE, EXIT_FAILED},                             \
		{"libvirt: capability", PHASE_PREPARE, EXIT_FAILED},                               \
		{"gate", PHASE_PREPARE, EXIT_FAILED}, {"tunnel", PHASE_PREPARE, EXIT_FAILED},      \
		{"QEMU's stream", PHASE_PREPARE, EXIT_FAILED},                                     \
		{"libvirt: watch", PHASE_PREPARE, EXIT_FAILED},                                    \
		{"libvirt: x-ignore-shared", PHASE_PREPARE, EXIT_FAILED},                          \
		{"libvirt: monitor", PHASE_PREPARE, EXIT_COMPLETED}, /* without post-copy */       \
		{"libvirt: XML", PHASE_PREPARE, EXIT_FAILED},                                      \
		{"libvirt: XML", PHASE_PREPARE, EXIT_FAILED},                                      \
		{"start job", PHASE_PREPARE, EXIT_FAILED},                                         \
		{"dial RAM", PHASE_PREPARE, EXIT_FAILED},                                          \
		{"dial RAM", PHASE_PREPARE, EXIT_FAILED},                                          \
		{"check guest", PHASE_PREPARE, EXIT_FAILED},                                       \
		{"libvirt: find", PHASE_PREPARE, EXIT_FAILED},                                     \
		{"borrow userfaultfd", PHASE_ATTACH, EXIT_FAILED},                                 \
		{"tracker", PHASE_ATTACH, EXIT_FAILED},                                            \
	{                                                                                          \
		"source", PHASE_ATTACH, EXIT_FAILED                                                \
	}

static const struct failure plain_failures[] = {
	SETUP_FAILS,
	{"other mappers", PHASE_SWITCHOVER, EXIT_FAILED},
	{"control is up", PHASE_LAST_PASS, EXIT_FAILED},
	{"gate forbid", PHASE_LAST_PASS, EXIT_FAILED},
	{"write record", PHASE_LAST_PASS, EXIT_FAILED},
	{"send RELEASE", PHASE_HANDOVER, EXIT_FAILED},
	{"send FINISH", PHASE_FINISH, EXIT_COMPLETED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{0},
};

static const struct failure verified_failures[] = {
	SETUP_FAILS,
	{"other mappers", PHASE_SWITCHOVER, EXIT_FAILED},
	{"send DIGEST_REQUEST", PHASE_VERIFY, EXIT_FAILED},
	{"digest", PHASE_VERIFY, EXIT_FAILED},
	{"control is up", PHASE_VERIFY, EXIT_FAILED},
	{"gate forbid", PHASE_VERIFY, EXIT_FAILED},
	{"write record", PHASE_VERIFY, EXIT_FAILED},
	{"send RELEASE", PHASE_HANDOVER, EXIT_FAILED},
	{"send FINISH", PHASE_FINISH, EXIT_COMPLETED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{0},
};

static const struct failure post_copy_failures[] = {
	SETUP_FAILS,
	{"send LISTEN", PHASE_PRECOPY, EXIT_FAILED},
	{"page link", PHASE_PRECOPY, EXIT_FAILED},
	{"other mappers", PHASE_SWITCHOVER, EXIT_FAILED},
	{"serve pages", PHASE_LAST_PASS, EXIT_FAILED},
	{"control is up", PHASE_LAST_PASS, EXIT_FAILED},
	{"gate forbid", PHASE_LAST_PASS, EXIT_FAILED},
	{"write record", PHASE_LAST_PASS, EXIT_FAILED},
	{"send RELEASE", PHASE_HANDOVER, EXIT_FAILED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{"libvirt: state", PHASE_FINISH, EXIT_COMPLETED},
	{0},
};

static void fail_each(way *w, const struct failure *failures)
{
	for (unsigned int i = 0;; i++) {
		int status;

		world_setup();
		world.fail_at = i + 1;
		status = go(w);
		cr_assert_str_eq(world.failed, failures[i].what ? failures[i].what : "");
		cr_expect_eq(world.failed_in, failures[i].in, "%s", world.failed);
		cr_expect_eq(status, failures[i].status, "%s: %s", world.failed, world.trace);
		/* A guest that cannot be moved cannot be moved later; one that failed to, can. */
		cr_expect_eq(world.may_pass, status == EXIT_FAILED, "%s", world.failed);
		world_judge(status);
		cr_expect_not(world.recorded, "%s: %s", world.failed, world.trace);
		world_teardown();
		if (!failures[i].what)
			break;
	}
}

Test(outgoing, each_call_may_fail)
{
	fail_each(plainly, plain_failures);
}

Test(outgoing, each_call_may_fail_with_verify)
{
	fail_each(verified, verified_failures);
}

Test(outgoing, each_call_may_fail_with_post_copy)
{
	fail_each(by_post_copy, post_copy_failures);
}

/* Bad usage stays bad; a receiver that does not answer may do so later. */
Test(outgoing, a_destination_that_cannot_be_reached_is_worth_another_attempt)
{
	static const struct {
		int code;
		bool may_pass;
	} rows[] = {{-ECONNREFUSED, true}, {-ETIMEDOUT, true}, {-EHOSTUNREACH, true},
		    {-EPIPE, true},	   {-EINVAL, false},   {-EPROTO, false}};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		world_setup();
		world.fail_at = 9; /* dial control */
		world.fail_code = rows[i].code;
		cr_expect_eq(go(plainly), EXIT_REFUSED);
		cr_expect_str_eq(world.failed, "dial control");
		cr_expect_eq(world.may_pass, rows[i].may_pass, "%s", strerror(-rows[i].code));
		world_teardown();
	}
}

static void abort_when_recorded(const char *what)
{
	if (strcmp(what, "write record") == 0 && !world.given_up_there)
		world_says(WIRE_ABORT);
}

/* The destination's reason decides what it comes to, and whether to try again. */
Test(outgoing, the_destination_gives_up)
{
	static const struct {
		enum wire_abort why;
		enum exit_status status;
		bool may_pass;
	} rows[] = {{WIRE_ABORT_FAILED, EXIT_FAILED, true},
		    {WIRE_ABORT_CANCELLED, EXIT_ABORTED, false}};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		world_setup();
		world.abort_why = rows[i].why;
		world.on_call = abort_when_recorded;
		cr_expect_eq(go(plainly), rows[i].status, "%u", i);
		world_judge(rows[i].status);
		cr_expect_eq(world.may_pass, rows[i].may_pass, "%u", i);
		world_teardown();
	}
}

static void streams_break_before_the_word(uint64_t arg)
{
	(void)arg;
	world_round_ends(-EPIPE, 0);
	world_at(2000, world_says, WIRE_ABORT);
}

static void break_when_attached(const char *what)
{
	if (strcmp(what, "source") == 0)
		world_at(100, streams_break_before_the_word, 0);
}

/* Its RAM streams and its word travel apart. */
Test(outgoing, the_destination_gives_up_and_its_streams_break_first)
{
	world_setup();
	world.abort_why = WIRE_ABORT_CANCELLED;
	world.on_call = break_when_attached;
	cr_expect_eq(go(plainly), EXIT_ABORTED);
	cr_expect(strstr(world.result.reason, "out of memory there"), "%s", world.result.reason);
	world_teardown();
}

/* ---- trouble at every moment ---- */

/* Each says whether it came: some things are not there yet, or any more. */

static bool cancel(void)
{
	return steering_cancel(world.steering, "enough");
}

static bool lose_control(void)
{
	bool comes = !world.lost;

	world_loses_control(0);
	return comes;
}

/* The destination undoes its half, which it does not once it has the guest. */
static bool abort_there(void)
{
	if (world.lost || world.lives_there)
		return false;
	world_says(WIRE_ABORT);
	return true;
}

static bool fail_job(void)
{
	if (!world.job_runs)
		return false;
	world_job_fails(0);
	return true;
}

static bool break_tunnel(void)
{
	if (!world.tunnel.ended)
		return false;
	world.tunnel.ended(world.tunnel.opaque, -ECONNRESET, "reset");
	return true;
}

static bool fail_round(void)
{
	bool comes = world.round_runs;

	world_round_ends(-EIO, 0);
	return comes;
}

static bool break_link(void)
{
	bool comes = world.link.changed != NULL;

	world_link_changes(PAGE_LINK_BROKEN);
	return comes;
}

static bool end_qemu_stream(void)
{
	if (!world.qemu_stream.ended)
		return false;
	world.qemu_stream.ended(world.qemu_stream.opaque, 0, "");
	return true;
}

/* Until the release: what is left here after that is not the guest. (Before PREPARE is answered it
 * is a refusal.) */
static bool end_guest(void)
{
	if (world.released || world.o->phase == PHASE_CONNECT)
		return false;
	world_ends_here(0);
	return true;
}

static bool set_bandwidth(void)
{
	mailbox_note(world.o->mail.box, MAIL_SET, 0, "bandwidth set to 1Mi");
	return true;
}

static const struct trouble {
	const char *name;
	bool (*comes)(void);
	int before_handover; /* what it comes to; after that the guest goes where it can run */
} troubles[] = {
	{"cancelled", cancel, EXIT_ABORTED},
	{"control lost", lose_control, EXIT_FAILED},
	{"ABORT", abort_there, EXIT_FAILED},
	{"job failed", fail_job, EXIT_FAILED},
	{"tunnel broken", break_tunnel, EXIT_FAILED},
	{"round failed", fail_round, EXIT_FAILED},
	{"page link broken", break_link, EXIT_FAILED},
	{"QEMU's stream ended", end_qemu_stream, EXIT_COMPLETED},
	{"limits set", set_bandwidth, EXIT_COMPLETED},
	{"guest ended", end_guest, EXIT_FAILED},
};

static int expect(const struct trouble *t, bool came)
{
	if (!came)
		return EXIT_COMPLETED;
	if (world.trouble_in >= PHASE_HANDOVER)
		return world.lives_there ? EXIT_COMPLETED : EXIT_FAILED;
	/* Not even accepted: nothing was touched. */
	if (world.trouble_in == PHASE_CONNECT && t->before_handover == EXIT_FAILED)
		return EXIT_REFUSED;
	return t->before_handover;
}

static unsigned int count_waits(way *w)
{
	unsigned int waits;

	world_setup();
	go(w);
	waits = world.waits;
	world_teardown();
	return waits;
}

static void trouble_each(way *w)
{
	unsigned int waits = count_waits(w);

	for (unsigned int i = 0; i < sizeof(troubles) / sizeof(*troubles); i++)
		for (unsigned int at = 1; at <= waits; at++) {
			int status;

			world_setup();
			world.trouble_at = at;
			world.trouble = troubles[i].comes;
			status = go(w);
			cr_expect_eq(status, expect(&troubles[i], world.trouble_came),
				     "%s in %s: %d, %s: %s", troubles[i].name,
				     phase_name(world.trouble_in), status, world.result.reason,
				     world.trace);
			world_judge(status);
			cr_expect_not(world.recorded, "%s: %s", troubles[i].name, world.trace);
			world_teardown();
		}
}

Test(outgoing, trouble_may_come_at_any_moment)
{
	trouble_each(plainly);
}

Test(outgoing, trouble_may_come_at_any_moment_of_verify)
{
	trouble_each(verified);
}

Test(outgoing, trouble_may_come_at_any_moment_of_post_copy)
{
	trouble_each(by_post_copy);
}
