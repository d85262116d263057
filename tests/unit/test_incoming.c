// SPDX-License-Identifier: Apache-2.0
// A session of the destination, without a guest: how it ends, whatever happens in which order.
#include "incoming.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "fake_destination.h"

TestSuite(incoming, .timeout = 120);

static struct fake_destination *run(enum domain_state libvirt_says, const char *script)
{
	struct fake_destination *d = fake_destination_new();

	d->libvirt_says = libvirt_says;
	fake_destination_run(d, script);
	return d;
}

static bool file_exists(const struct fake_destination *d, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", d->path, name);
	return access(path, F_OK) == 0;
}

/* ---- as it should be ---- */

Test(incoming, a_guest_arrives)
{
	struct fake_destination *d = run(DOMAIN_INCOMING, "trREF");

	cr_assert(d->result.prepared && d->result.arrived);
	cr_assert_str_eq(d->result.domain, "web");
	cr_assert_str_eq(d->states, "ready released running arrived");
	cr_assert_str_eq(d->sent, "PREPARED READY SYNCED RELEASED RESUMED FINISHED");
	cr_assert(d->record.released && d->record.resumed && d->record.complete);
	cr_assert(!d->record.post_copy && !d->record.never_ran);
	cr_assert_eq(d->guard, FAKE_GUARD_DONE);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	cr_assert_eq(fake_libvirt_calls(d->libvirt, FAKE_STATE), 1, "libvirt was not needed");
	cr_assert_eq(d->on, 1);
	cr_assert_geq(d->off, 1);
	cr_assert_eq(((uint8_t *)d->qemu_ram)[FAKE_PAGE * RAM_PAGE_SIZE + 17], FAKE_BYTE);
	cr_assert_eq(((uint8_t *)d->qemu_ram)[0], 0);
	cr_assert_eq(d->result.ram_bytes, FAKE_RAM_BYTES);
	cr_assert_eq(d->result.wire_bytes, 2 * WIRE_FRAME_SIZE + RAM_PAGE_SIZE);
	fake_destination_destroy(d);
}

/* Before it hears that it runs. */
Test(incoming, a_source_that_wants_it_hears_how_long_it_took)
{
	struct fake_destination *d = fake_destination_new();

	d->features = WIRE_FEATURE_ARRIVAL;
	d->libvirt_says = DOMAIN_INCOMING;
	fake_destination_run(d, "RMEF");
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->sent, "PREPARED READY RELEASED ARRIVAL RESUMED FINISHED");
	fake_destination_destroy(d);
}

Test(incoming, autostart_goes_along)
{
	struct fake_destination *d = fake_destination_new();

	d->autostart = true;
	d->libvirt_says = DOMAIN_RUNNING;
	fake_destination_run(d, "REF");
	cr_assert(d->result.arrived);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "autostart web");
	cr_assert(!d->record.autostart, "it is done, and not done again");
	fake_destination_destroy(d);
	d = fake_destination_new();
	d->autostart = true;
	fake_destination_run(d, "A");
	cr_assert_null(strstr(fake_libvirt_did(d->libvirt), "autostart"));
	fake_destination_destroy(d);
}

/* Whoever saves the guest, or sends it on, while its memory is still to come gets all of it. */
Test(incoming, the_capability_goes_off_as_soon_as_the_guest_runs)
{
	static const char *const scripts[] = {"REb.F", "LREb.K", "LRE.b.K", "LRGE.b.K", "LERb.K"};

	for (unsigned int i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
		struct fake_destination *d = run(DOMAIN_RUNNING, scripts[i]);

		cr_expect(d->result.arrived, "%s: %s", scripts[i], d->states);
		/* Once more for each that finds the guest running before QEMU has answered, which
		 * are its event, libvirt's word, and the end: it does no harm. */
		cr_expect(d->off >= 1 && d->off <= 3, "%s: %u times", scripts[i], d->off);
		fake_destination_destroy(d);
	}
}

/* QEMU does not answer: pages come all the same. */
Test(incoming, nobody_waits_for_the_capability_to_go_off)
{
	struct fake_destination *d = fake_destination_new();

	d->libvirt_says = DOMAIN_RUNNING;
	d->failing = FAKE_STEP_SILENCE;
	fake_destination_run(d, "LRE..K");
	cr_assert_str_eq(d->states, "ready listening owed fetching arrived");
	cr_assert_eq(d->off, 0);
	cr_assert_not(strstr(d->sent, "FINISHED"), "%s", d->sent);
	cr_assert_eq(d->guard, FAKE_GUARD_LEFT, "which tries on");
	fake_destination_destroy(d);
}

Test(incoming, memory_is_compared)
{
	struct fake_destination *d = run(DOMAIN_INCOMING, "rDREF");

	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->sent, "PREPARED READY SYNCED DIGEST RELEASED RESUMED FINISHED");
	fake_destination_destroy(d);
}

/* No RESUME is due, and none is told. */
Test(incoming, a_paused_guest_arrives)
{
	struct fake_destination *d = fake_destination_new();

	d->paused = true;
	fake_destination_run(d, "RF");
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->sent, "PREPARED READY RELEASED FINISHED");
	cr_assert(d->record.resumed && !d->record.running);
	fake_destination_destroy(d);
}

Test(incoming, a_guest_arrives_by_post_copy)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "LslREfK");

	cr_assert(d->result.arrived && d->result.post_copy && !d->result.untold);
	cr_assert_str_eq(d->states, "ready listening owed fetching arrived");
	cr_assert_str_eq(d->sent, "PREPARED READY LISTENING SYNCED RELEASED RESUMED FINISHED");
	cr_assert_str_eq(d->links[0].said, "COMPLETE");
	cr_assert(d->record.released && d->record.post_copy && d->record.resumed);
	cr_assert(d->record.complete && !d->record.prove);
	cr_assert_eq(d->record.qemu, getpid());
	cr_assert(!file_exists(d, "owed"));
	cr_assert_eq(d->inside, 0);
	cr_assert_eq(d->guard, FAKE_GUARD_DONE);
	cr_assert_eq(d->result.told.faults, 1);
	cr_assert_eq(d->result.told.pages_fault, 1);
	fake_destination_destroy(d);
}

Test(incoming, a_page_is_pushed)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "LslREpK");

	cr_assert(d->result.arrived);
	cr_assert_eq(d->result.told.pages_push, 1);
	cr_assert_eq(((uint8_t *)d->qemu_ram)[FAKE_PAGE * RAM_PAGE_SIZE], FAKE_BYTE);
	fake_destination_destroy(d);
}

/* A page stream that has ended takes its link with it. */
Test(incoming, a_source_comes_again)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "LslRECofK");

	cr_assert(d->result.arrived && !d->result.untold);
	cr_assert_str_eq(d->links[0].said, "");
	cr_assert_str_eq(d->links[1].said, "OWED OWED_END COMPLETE");
	fake_destination_destroy(d);
}

/* Its user learns it at once, and the guest waits: here for a source that has it after all. */
Test(incoming, a_source_that_has_lost_memory_is_told_of)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "LslREgofK");

	cr_assert(strstr(d->lacks, "web: part of its memory does not come: page 7 of pc.ram cannot "
				   "be read."),
		  "%s", d->lacks);
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->states, "ready listening owed fetching arrived");
	fake_destination_destroy(d);
}

Test(incoming, nobody_confirms)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "LsREK");

	cr_assert(d->result.arrived && d->result.untold);
	fake_destination_destroy(d);
}

Test(incoming, memory_is_proven)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "VslREpKo");

	cr_assert(d->result.arrived && !d->result.untold);
	cr_assert_str_eq(d->states, "ready listening owed fetching proving arrived");
	cr_assert(d->record.prove && d->record.complete);
	cr_assert_str_eq(d->links[1].said, "OWED_END PROOF COMPLETE");
	cr_assert_eq(d->inside, 0);
	fake_destination_destroy(d);
}

/* Only a balloon that was watched all the time is known not to have moved. */
Test(incoming, whether_a_balloon_has_moved_is_told)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "VslREpKo");

	cr_assert(d->result.arrived && d->result.told.balloon_still);
	fake_destination_destroy(d);
	d = run(DOMAIN_RUNNING, "VslRBEpKo");
	cr_assert(d->result.arrived && !d->result.told.balloon_still);
	fake_destination_destroy(d);
}

/* The guest is here with all of its memory: it does without a proof. */
Test(incoming, a_proof_is_given_up)
{
	struct fake_destination *d = run(DOMAIN_RUNNING, "VREKC");

	cr_assert(d->result.arrived && d->record.complete);
	cr_assert_geq(d->now_us, 60000000);
	cr_assert_lt(d->now_us, 63000000);
	fake_destination_destroy(d);
}

/* ---- memory that the source's QEMU has to itself ---- */

static struct fake_destination *new_strained(uint64_t features, const char *path, bool fit,
					     uint64_t free)
{
	struct fake_destination *d = fake_destination_new();

	d->strained = true;
	d->shape.blocks[0].allocated = FAKE_RAM_BYTES;
	d->features = features;
	d->libvirt_says = DOMAIN_RUNNING;
	snprintf(d->memory_dir.path, sizeof(d->memory_dir.path), "%s", path);
	d->memory_dir.fit = fit;
	d->memory_dir.free = free;
	return d;
}

Test(incoming, the_source_is_told_whether_memory_can_be_shared_here)
{
	static const struct {
		const char *path;
		bool fit, shared;
		uint64_t free;
		const char *text;
	} cases[] = {
		{"/ram", true, true, 1 << 20, "/ram"},
		{"/ram", true, true, UINT64_MAX, "/ram"},
		{"/ram", true, false, 4096, "has room for 0 MiB"},
		{"/disk", false, false, UINT64_MAX, "/disk, is not on tmpfs"},
		{"", true, false, 0, "nobody knows"},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct fake_destination *d = new_strained(WIRE_FEATURE_BACKING, cases[i].path,
							  cases[i].fit, cases[i].free);

		fake_destination_run(d, "rREF");
		cr_expect(d->result.arrived);
		cr_expect_str_eq(d->sent,
				 "BACKING PREPARED READY SYNCED RELEASED RESUMED FINISHED");
		cr_expect_eq(d->backing_shared, cases[i].shared, "case %u", i);
		cr_expect(strstr(d->backing, cases[i].text), "%s", d->backing);
		cr_expect_eq(d->on + d->off, 0, "the capability is no matter");
		fake_destination_destroy(d);
	}
}

/* Before libvirt is called: nothing is there that would have to be undone. */
Test(incoming, a_guest_that_the_host_has_no_memory_for_is_refused)
{
	for (unsigned int strained = 0; strained < 2; strained++) {
		struct fake_destination *d = new_strained(WIRE_FEATURE_BACKING, "/disk", false, 0);

		d->strained = strained;
		d->memory_free = FAKE_RAM_BYTES - 1;
		fake_destination_run(d, "");
		cr_expect(!d->result.arrived);
		cr_expect_str_eq(d->sent, "ABORT");
		cr_expect(strstr(d->result.reason, "the destination lacks memory"), "%s",
			  d->result.reason);
		cr_expect(strstr(d->result.reason, "of this host"), "%s", d->result.reason);
		fake_destination_destroy(d);
	}
}

Test(incoming, a_guest_may_take_all_memory_that_is_free)
{
	struct fake_destination *d = new_strained(WIRE_FEATURE_BACKING, "/disk", false, 0);

	d->memory_free = FAKE_RAM_BYTES;
	fake_destination_run(d, "rREF");
	cr_assert(d->result.arrived);
	fake_destination_destroy(d);
}

/* Only what stays private is charged to QEMU's control group. */
Test(incoming, whose_control_group_counts)
{
	static const struct {
		const char *path;
		bool fit, own, group;
	} cases[] = {
		{"/disk", false, true, true},
		{"/disk", false, false, false},
		{"/ram", true, true, false},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct fake_destination *d =
			new_strained(WIRE_FEATURE_BACKING, cases[i].path, cases[i].fit, UINT64_MAX);

		if (cases[i].own)
			snprintf(d->libvirt->qemu_sockets, sizeof(d->libvirt->qemu_sockets),
				 "/run/libvirt");
		fake_destination_run(d, "rREF");
		cr_expect(d->result.arrived, "case %u", i);
		cr_expect_eq(d->memory_of_daemon, cases[i].group, "case %u", i);
		fake_destination_destroy(d);
	}
}

Test(incoming, an_older_source_is_told_nothing)
{
	struct fake_destination *d = new_strained(0, "/ram", true, UINT64_MAX);

	fake_destination_run(d, "rREF");
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->sent, "PREPARED READY SYNCED RELEASED RESUMED FINISHED");
	fake_destination_destroy(d);
}

Test(incoming, a_guest_arrives_in_private_memory)
{
	struct fake_destination *d = new_strained(WIRE_FEATURE_BACKING, "/disk", false, 0);

	d->private_here = true;
	fake_destination_run(d, "rDREF");
	cr_assert(d->result.arrived);
	cr_assert_eq(((uint8_t *)d->qemu_ram)[FAKE_PAGE * RAM_PAGE_SIZE + 17], FAKE_BYTE);
	cr_assert_eq(d->result.ram_bytes, FAKE_RAM_BYTES);
	fake_destination_destroy(d);
}

static struct fake_destination *new_private(void)
{
	struct fake_destination *d = new_strained(WIRE_FEATURE_BACKING, "/disk", false, 0);

	d->private_here = true;
	d->libvirt_says = DOMAIN_RUNNING;
	return d;
}

Test(incoming, post_copy_into_private_memory)
{
	struct fake_destination *d = new_private();

	fake_destination_run(d, "LslREfK");
	cr_assert(d->result.arrived && d->result.post_copy, "%s", d->result.reason);
	cr_assert_str_eq(d->sent,
			 "BACKING PREPARED READY LISTENING SYNCED RELEASED RESUMED FINISHED");
	cr_assert_str_eq(d->links[0].said, "COMPLETE");
	cr_assert_eq(d->dropped, 1);
	cr_assert_eq(d->inside, 0);
	cr_assert_eq(((uint8_t *)d->qemu_ram)[FAKE_PAGE * RAM_PAGE_SIZE + 17], FAKE_BYTE);
	fake_destination_destroy(d);
}

/* Of a process that has died at any time since another one has to find it. */
Test(incoming, the_record_knows_where_private_memory_is)
{
	struct fake_destination *d = new_private();

	fake_destination_run(d, "LslREc");
	cr_assert_eq(d->record.ram.count, 1);
	cr_assert_eq(d->record.ram.blocks[0].private_to, getpid());
	cr_assert_eq(d->record.ram.blocks[0].addr, (uintptr_t)d->qemu_ram);
	fake_destination_destroy(d);
}

/* Its memory is read no more, as nobody serves faults yet. */
Test(incoming, no_digest_of_private_memory_once_post_copy_is_agreed)
{
	struct fake_destination *d = new_private();

	d->libvirt_says = DOMAIN_ABSENT;
	fake_destination_run(d, "LD");
	cr_assert(!d->result.arrived);
	cr_assert(strstr(d->why, "asks for a digest"), "%s", d->why);
	fake_destination_destroy(d);
}

/* ---- QEMU's stream ---- */

/* A crash between the two would leave a guest that runs, and a record that denies it. */
Test(incoming, the_record_comes_before_qemus_stream)
{
	static const char *const scripts[] = {"uRwEF", "RuwEF", "LuRwEK", "LRuwEK"};

	for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
		struct fake_destination *d = run(DOMAIN_INCOMING, scripts[i]);

		cr_expect(d->result.arrived, "%s", scripts[i]);
		cr_expect_eq(d->qemu_stream_bytes, 1, "%s", scripts[i]);
		cr_expect(d->released_before_qemu_stream, "%s", scripts[i]);
		fake_destination_destroy(d);
	}
}

Test(incoming, qemus_stream_is_held_and_dropped)
{
	struct fake_destination *d = run(DOMAIN_INCOMING, "uA");

	cr_assert_eq(d->qemu_stream_bytes, 0);
	fake_destination_destroy(d);
	d = fake_destination_new();
	d->failing = FAKE_STEP_RECORD;
	fake_destination_run(d, "uR");
	cr_assert_eq(d->qemu_stream_bytes, 0);
	fake_destination_destroy(d);
}

/* ---- the queue ---- */

Test(incoming, waits_for_its_turn)
{
	struct fake_destination *d = fake_destination_new();

	d->ahead = 3;
	fake_destination_run(d, "...............q.......qREF");
	cr_assert(d->result.arrived);
	cr_assert_str_eq(d->states, "queued ready released running arrived");
	cr_assert_str_eq(d->sent, "QUEUED QUEUED QUEUED PREPARED READY RELEASED RESUMED FINISHED");
	d->ahead = 1;
	fake_destination_destroy(d);
}

/* Whose source has gone before all was undone here. */
Test(incoming, waits_for_the_attempt_before_it)
{
	struct fake_destination *d = fake_destination_new();

	d->predecessor = 12;
	fake_destination_run(d, "............REF");
	cr_assert(d->result.arrived, "%s", d->result.reason);
	cr_assert_str_eq(d->sent, "QUEUED QUEUED PREPARED READY RELEASED RESUMED FINISHED");
	fake_destination_destroy(d);
}

Test(incoming, does_not_wait_for_another_for_ever)
{
	struct fake_destination *d = fake_destination_new();
	char script[512] = "";

	memset(script, '.', sizeof(script) - 1);
	d->locked = true;
	fake_destination_run(d, script);
	cr_assert(strstr(d->result.reason, "locked"), "%s", d->result.reason);
	cr_assert(!d->recorded);
	fake_destination_destroy(d);
}

Test(incoming, is_called_off_while_it_waits)
{
	struct fake_destination *d = fake_destination_new();

	d->ahead = 2;
	fake_destination_run(d, "..A");
	cr_assert_str_eq(d->states, "queued undone");
	cr_assert_str_eq(d->sent, "QUEUED ABORT");
	cr_assert(!d->recorded);
	cr_assert_eq(d->guard, FAKE_GUARD_NONE);
	cr_assert_eq(fake_libvirt_calls(d->libvirt, FAKE_STATE), 0);
	fake_destination_destroy(d);
}

/* ---- every step fails ---- */

struct failure {
	enum fake_step step;
	char script[16];
	char states[64];
	char sent[80];
	enum fake_guard guard;
	bool released, resumed, complete, never_ran;
	char did[32];
	unsigned int inside;
};

ParameterizedTestParameters(incoming, every_step_fails)
{
	static struct failure rows[] = {
		{FAKE_STEP_QUEUE, "", "undone", "ABORT", FAKE_GUARD_NONE},
		{FAKE_STEP_DIR, "", "undone", "ABORT", FAKE_GUARD_NONE},
		{FAKE_STEP_GUARD, "", "undone", "ABORT", FAKE_GUARD_NONE, .never_ran = true,
		 .did = "kill web"},
		/* No QEMU has our monitor: the one that libvirt has is no concern of ours. */
		{FAKE_STEP_MONITOR, "", "prepared undone", "PREPARED", FAKE_GUARD_DONE},
		{FAKE_STEP_CAPABILITY, "", "undone", "PREPARED ABORT", FAKE_GUARD_DONE,
		 .never_ran = true, .did = "kill web"},
		{FAKE_STEP_FIND_RAM, "", "undone", "PREPARED ABORT", FAKE_GUARD_DONE,
		 .never_ran = true, .did = "kill web"},
		{FAKE_STEP_OTHER_RAM, "", "undone", "PREPARED ABORT", FAKE_GUARD_DONE,
		 .never_ran = true, .did = "kill web"},
		/* Post-copy is refused, and pre-copy goes on. */
		{FAKE_STEP_USERFAULTFD, "LREF", "ready released running arrived",
		 "PREPARED READY LISTENING RELEASED RESUMED FINISHED", FAKE_GUARD_DONE,
		 .released = true, .resumed = true, .complete = true},
		/* What cannot be written down is not released, and all is undone. */
		{FAKE_STEP_RECORD, "R", "ready undone", "PREPARED READY ABORT", FAKE_GUARD_DONE,
		 .did = "kill web"},
		{FAKE_STEP_RECORD, "LR", "ready listening undone", "PREPARED READY LISTENING ABORT",
		 FAKE_GUARD_DONE, .did = "kill web"},
		/* It has arrived, but QEMU is not as it shall be: the guard tries again. */
		{FAKE_STEP_FORGET, "REF", "ready released running arrived",
		 "PREPARED READY RELEASED RESUMED", FAKE_GUARD_LEFT, .released = true,
		 .resumed = true, .complete = true},
		{FAKE_STEP_FORGET, "LREK", "ready listening owed fetching arrived",
		 "PREPARED READY LISTENING RELEASED RESUMED", FAKE_GUARD_LEFT, .released = true,
		 .resumed = true, .complete = true},
		{FAKE_STEP_CLOSE_INSIDE, "LREK", "ready listening owed fetching arrived",
		 "PREPARED READY LISTENING RELEASED RESUMED", FAKE_GUARD_LEFT, .released = true,
		 .resumed = true, .inside = 1},
		{FAKE_STEP_QEMU_GONE, "LREbK", "ready listening owed fetching arrived",
		 "PREPARED READY LISTENING RELEASED RESUMED FINISHED", FAKE_GUARD_DONE,
		 .released = true, .resumed = true, .complete = true, .inside = 1},
	};

	return cr_make_param_array(struct failure, rows, sizeof(rows) / sizeof(*rows));
}

ParameterizedTest(struct failure *row, incoming, every_step_fails)
{
	struct fake_destination *d = fake_destination_new();

	d->failing = row->step;
	fake_destination_run(d, row->script);
	cr_expect_str_eq(d->states, row->states);
	cr_expect_str_eq(d->sent, row->sent);
	cr_expect_eq(d->guard, row->guard);
	cr_expect_eq(d->record.released, row->released);
	cr_expect_eq(d->record.resumed, row->resumed);
	cr_expect_eq(d->record.complete, row->complete);
	cr_expect_eq(d->record.never_ran, row->never_ran);
	cr_expect_eq(d->inside, row->inside);
	cr_expect_str_eq(fake_libvirt_did(d->libvirt), row->did);
	if (strstr(row->sent, "ABORT"))
		cr_expect_str_eq(d->why, d->result.reason);
	fake_destination_destroy(d);
}

/* A record is written before anything that it tells of may happen: so what cannot be recorded does
 * not, and the owed set, which comes before the record, is sealed all the same. */
Test(incoming, the_owed_set_comes_before_the_record)
{
	struct fake_destination *d = fake_destination_new();
	struct ram_map ram = {0};
	struct owed *owed = NULL;
	char path[96];

	d->failing = FAKE_STEP_RECORD;
	fake_destination_run(d, "LR");
	cr_assert(!d->record.released && !d->record.post_copy);
	guest_ram_add(&ram, "pc.ram", FAKE_RAM_BYTES, RAM_PAGE_SIZE);
	snprintf(path, sizeof(path), "%s/owed", d->path);
	cr_assert_eq(owed_open(path, &ram, &owed, NULL), 0);
	cr_assert(owed_sealed(owed));
	owed_close(owed);
	guest_ram_destroy(&ram);
	fake_destination_destroy(d);
}

Test(incoming, a_guest_that_is_here_is_refused)
{
	struct fake_destination *d = fake_destination_new();

	fake_libvirt_add(d->libvirt, "web", FAKE_UUID, DOMAIN_RUNNING);
	fake_destination_run(d, "");
	cr_assert(strstr(d->why, "is already active on the destination"), "%s", d->why);
	cr_assert(!d->recorded);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	fake_destination_destroy(d);
}

/* Others wait for the turn that its source does not use. */
Test(incoming, a_turn_that_is_not_used_is_lost)
{
	struct fake_destination *d = fake_destination_new();
	uint64_t begun = d->now_us;

	d->failing = FAKE_STEP_MONITOR;
	d->patient = true;
	fake_destination_run(d, "");
	cr_assert(!d->result.arrived);
	cr_assert(strstr(d->why, "has not asked for domain web in 60 s: others wait"), "%s",
		  d->why);
	cr_assert_leq(d->now_us - begun, 100000000, "and the rest of it does not take long");
	cr_assert_eq(slot_join(d->path, &d->others[0], NULL), 0);
	cr_assert_eq(slot_ahead(d->others[0], &d->ahead), 0);
	cr_assert_eq(d->ahead, 0);
	slot_leave(d->others[0]);
	fake_destination_destroy(d);
}

Test(incoming, another_process_is_not_its_qemu)
{
	struct fake_destination *d = fake_destination_new();

	d->listens_for_it = true;
	fake_destination_run(d, "");
	cr_assert(!d->result.arrived);
	cr_assert(strstr(d->why, "which is not the QEMU of domain web"), "%s", d->why);
	cr_assert_eq(d->on, 0, "it is told nothing");
	fake_destination_destroy(d);
}

Test(incoming, another_guest_has_its_name)
{
	struct fake_destination *d = fake_destination_new();

	fake_libvirt_add(d->libvirt, "web", "00000000-3f6a-4f52-9a35-0a8f6b4f6a10",
			 DOMAIN_SHUT_OFF);
	fake_destination_run(d, "");
	cr_assert(strstr(d->why, "has another domain of the name web, with UUID 00000000"), "%s",
		  d->why);
	cr_assert(!d->recorded);
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	fake_destination_destroy(d);
}

/* libvirt defines a guest before it starts it. */
/* ---- what is left of an earlier migration ---- */

struct left_row {
	enum record_kind kind;
	struct record record;
	bool refused;
};

static void leave(const struct fake_destination *d, const struct left_row *row)
{
	struct record r = row->record;
	struct guest_dir dir;

	fake_paths(d, &dir);
	strcpy(r.domain, "web");
	strcpy(r.uuid, FAKE_UUID);
	strcpy(r.session, "00112233445566778899aabbccddeeff");
	cr_assert_eq(record_write(&dir, row->kind, &r, NULL), 0);
}

/* Somebody may still ask what became of the guest, or want its memory. */
Test(incoming, a_migration_that_is_not_settled_is_not_forgotten)
{
	static const struct left_row rows[] = {
		{RECORD_OUTGOING, {.released = false}, false},
		{RECORD_OUTGOING, {.released = true}, false},
		{RECORD_OUTGOING, {.released = true, .post_copy = true}, true},
		{RECORD_INCOMING, {.released = false}, false},
		{RECORD_INCOMING, {.released = true}, true},
		{RECORD_INCOMING, {.released = true, .settled = true}, false},
		{RECORD_INCOMING, {.released = true, .resumed = true}, false},
		{RECORD_INCOMING, {.released = true, .never_ran = true}, false},
		{RECORD_INCOMING, {.released = true, .resumed = true, .post_copy = true}, true},
		{RECORD_INCOMING,
		 {.released = true, .resumed = true, .post_copy = true, .complete = true},
		 false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct fake_destination *d = fake_destination_new();
		struct guest_dir dir;
		struct record r;

		leave(d, &rows[i]);
		fake_destination_run(d, rows[i].refused ? "" : "REF");
		cr_expect_eq(d->result.arrived, !rows[i].refused, "row %zu", i);
		fake_paths(d, &dir);
		cr_expect_eq(record_read(&dir, rows[i].kind, &r, NULL) == 0 &&
				     strcmp(r.session, "00112233445566778899aabbccddeeff") == 0,
			     rows[i].refused, "row %zu", i);
		cr_expect(!rows[i].refused || strstr(d->why, "`dray recover " FAKE_UUID "`"), "%s",
			  d->why);
		fake_destination_destroy(d);
	}
}

/* Its number is that of a migration of which a record was kept. */
Test(incoming, a_number_that_is_known_is_refused)
{
	struct fake_destination *d = fake_destination_new();
	struct left_row row = {RECORD_INCOMING, {.resumed = true}};

	memset(d->session, 0, sizeof(d->session));
	for (int i = 0; i < 16; i++)
		d->session[i] = (uint8_t)(i * 0x11);
	leave(d, &row);
	fake_destination_run(d, "");
	cr_assert(!d->result.prepared && !d->result.arrived);
	cr_assert(strstr(d->result.reason, "is another one's here"), "%s", d->result.reason);
	fake_destination_destroy(d);
}

Test(incoming, a_definition_is_taken_back_only_if_it_is_new)
{
	struct fake_destination *d = run(DOMAIN_SHUT_OFF, "A");

	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "undefine web");
	cr_assert(d->record.never_ran && !d->record.defined_before);
	fake_destination_destroy(d);
	d = fake_destination_new();
	d->defined_before = true;
	d->libvirt_says = DOMAIN_SHUT_OFF;
	fake_destination_run(d, "A");
	cr_assert_str_eq(fake_libvirt_did(d->libvirt), "");
	cr_assert(d->record.never_ran && d->record.defined_before);
	fake_destination_destroy(d);
}

/* ---- every message in every state ---- */

static const struct way {
	enum incoming_state state;
	const char *script;
	unsigned int ahead, monitor_late;
} ways[] = {
	{INCOMING_QUEUED, "", .ahead = 2},
	{INCOMING_PREPARED, "", .monitor_late = 1},
	{INCOMING_READY, ""},
	{INCOMING_LISTENING, "L"},
	{INCOMING_RELEASED, "R"},
	{INCOMING_RUNNING, "RE"},
	{INCOMING_OWED, "LR"},
	{INCOMING_FETCHING, "LRE"},
	{INCOMING_PROVING, "VREK"},
	{INCOMING_SETTLING, "LRC"},
};

/* What was refused is told, unless that has no effect. */
static void expect_refusal(const struct fake_destination *d, const struct way *w, const char *after)
{
	enum incoming_state to = incoming_state_after(w->state, INCOMING_GIVEN_UP);
	const char *name = incoming_state_name(to);

	if (to == INCOMING_UNDOING || to == INCOMING_UNDONE)
		cr_expect(strstr(d->result.reason, "which has no place here"), "%s: %s", after,
			  d->result.reason);
	if (to == INCOMING_ARRIVED)
		cr_expect(d->result.arrived, "%s: %s", after, d->states);
	if (to == INCOMING_SETTLING)
		cr_expect_geq(fake_libvirt_calls(d->libvirt, FAKE_STATE), 2, "%s", after);
	if (to == w->state)
		cr_expect(strstr(d->states, name), "%s: %s", after, d->states);
}

static void send_in_state(const struct way *w, enum wire_type type)
{
	struct fake_destination *d = fake_destination_new();
	const char *name = incoming_state_name(w->state);
	char script[16], after[64];

	d->odd = type;
	d->ahead = w->ahead;
	d->monitor_late = w->monitor_late;
	snprintf(script, sizeof(script), "%sX", w->script);
	snprintf(after, sizeof(after), "%s in state %s", wire_type_name(type), name);
	fake_destination_run(d, script);
	cr_expect(strstr(d->states, name), "%s: %s", after, d->states);
	cr_expect_eq(d->taken, strlen(script), "%s", after);
	if (incoming_state_takes(w->state, type))
		cr_expect(!strstr(d->result.reason, "has no place here"), "%s", after);
	else
		expect_refusal(d, w, after);
	cr_expect_neq(d->guard, FAKE_GUARD_LEFT, "%s", after);
	fake_destination_destroy(d);
}

Test(incoming, every_message_in_every_state)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		for (enum wire_type type = WIRE_PREPARE; type < WIRE_TYPE_END_; type++)
			if (type != WIRE_PING && type != WIRE_PONG)
				send_in_state(&ways[i], type);
}

/* ---- every order ---- */

enum answer { UNDONE, ARRIVED, UNKNOWN };

static const struct libvirt_word {
	const char *name;
	enum domain_state state;
	bool lives;
} words[] = {
	{"on its way", DOMAIN_INCOMING, false},
	{"running", DOMAIN_RUNNING, true},
	{"absent", DOMAIN_ABSENT, false},
	{"shut off", DOMAIN_SHUT_OFF, false},
};

/* What has to come of it, told a second time: by what has happened, without any states. */
struct story {
	bool agreed, released, ran, complete;
};

static bool is_out_of_place(const struct story *s, char letter)
{
	return letter == 'X' || (letter == 'F' && !s->released) ||
	       (letter == 'L' && (s->agreed || s->released)) || (letter == 'R' && s->released);
}

/* True: it is over. */
static bool tell(struct story *s, char letter, const struct libvirt_word *word, enum answer *answer)
{
	bool over = is_out_of_place(s, letter) || strchr("ACG", letter);

	s->ran |= letter == 'E';
	s->complete |= letter == 'K' && s->released;
	if (!s->released) {
		s->agreed |= letter == 'L';
		s->released = letter == 'R';
		*answer = s->ran ? UNKNOWN : UNDONE;
		return over;
	}
	if (!s->agreed) {
		*answer = letter == 'F' || s->ran || word->lives ? ARRIVED : UNDONE;
		return over || letter == 'F';
	}
	if (letter == 'C')
		s->ran |= word->lives;
	*answer = s->ran ? ARRIVED : UNDONE;
	return s->complete && s->ran; /* else it goes on, if only until the mailbox is empty */
}

static enum answer expected_answer(const char *script, const struct libvirt_word *word,
				   struct story *s)
{
	enum answer answer = UNKNOWN;
	char whole[24];

	*s = (struct story){0};
	snprintf(whole, sizeof(whole), "%sCK", script); /* as the fake destination goes on */
	for (const char *at = whole; *at; at++)
		if (tell(s, *at, word, &answer))
			break;
	return answer;
}

static void expect_record(const struct fake_destination *d, const struct story *s, const char *what)
{
	const struct record *r = &d->record;

	cr_expect_eq(r->released, s->released, "%s", what);
	cr_expect_eq(r->resumed, s->ran || d->result.arrived, "%s", what);
	cr_expect_eq(r->post_copy, s->released && s->agreed, "%s", what);
	cr_expect_eq(r->complete, d->result.arrived, "%s", what);
	cr_expect(!r->never_ran || !r->resumed, "%s", what);
	cr_expect(!r->complete || r->released, "%s", what);
}

/* What is inside QEMU goes with the last page, or before the release; and stays otherwise. */
static void expect_inside(const struct fake_destination *d, const char *what)
{
	bool waits = d->record.post_copy && !d->record.complete;

	cr_expect_eq(d->inside, waits, "%s", what);
	if (waits)
		cr_expect(file_exists(d, "owed"), "%s", what);
}

static void expect_libvirt(struct fake_destination *d, const struct libvirt_word *word,
			   const char *what)
{
	const char *did = fake_libvirt_did(d->libvirt);
	bool may_end = !d->record.resumed && word->state == DOMAIN_INCOMING;
	bool may_undefine = d->record.never_ran && word->state == DOMAIN_SHUT_OFF;

	cr_expect_str_eq(did,
			 may_end	? "kill web"
			 : may_undefine ? "undefine web"
					: "",
			 "%s", what);
}

static void try_order(const char *script, const struct libvirt_word *word, size_t *taken)
{
	struct fake_destination *d = run(word->state, script);
	struct story s;
	enum answer answer = expected_answer(script, word, &s);
	char what[64];

	snprintf(what, sizeof(what), "%s, libvirt says %s", script, word->name);
	cr_expect_eq(d->result.arrived, answer == ARRIVED, "%s: %s", what, d->states);
	cr_expect_eq(d->result.unknown, answer == UNKNOWN, "%s: %s", what, d->states);
	cr_expect_eq(d->guard, FAKE_GUARD_DONE, "%s", what);
	if (d->result.arrived || !s.released || !s.ran) /* else it is on its way */
		cr_expect_eq(d->off > 0, d->result.arrived, "%s", what);
	cr_expect_eq(!!strstr(d->sent, "FINISHED"), d->result.arrived, "%s: %s", what, d->sent);
	expect_record(d, &s, what);
	expect_inside(d, what);
	expect_libvirt(d, word, what);
	*taken = d->taken;
	fake_destination_destroy(d);
}

/* A script that ended before its last letter need not be tried with more. */
static void try_orders(char *script, size_t len, size_t max, const struct libvirt_word *word)
{
	size_t taken;

	script[len] = 0;
	try_order(script, word, &taken);
	if (taken < len || len == max)
		return;
	for (const char *letter = "LREFACGKX"; *letter; letter++) {
		script[len] = *letter;
		try_orders(script, len + 1, max, word);
	}
}

static void try_all_orders(const char *begin, size_t more, size_t word_count)
{
	char script[16];

	for (size_t i = 0; i < word_count; i++) {
		snprintf(script, sizeof(script), "%s", begin);
		try_orders(script, strlen(begin), strlen(begin) + more, &words[i]);
	}
}

Test(incoming, every_order)
{
	try_all_orders("", 3, 4);
}

Test(incoming, every_order_after_the_release)
{
	try_all_orders("R", 3, 4);
}

Test(incoming, every_order_in_post_copy)
{
	try_all_orders("LR", 3, 2);
}

Test(incoming, every_order_in_post_copy_of_a_guest_that_ends)
{
	try_all_orders("LR", 2, 4);
}
