// SPDX-License-Identifier: Apache-2.0
// Recovery on a host of the test's own: a fake libvirt with one guest, a /run with its records, and
// a fake of all that recovery reaches beyond (recover_world.h).
//
// Time is the test's, too: a pause takes none, and is where the test changes things
// (fake.on_pause). Only ownership.c's polls are real; tests keep wait_ms small.
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include "fake_host.h"
#include "own_run.h"
#include "pacer.h"
#include "recover_private.h"

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define SESSION "00112233445566778899aabbccddeeff"
#define NOBODY WIRE_STATE_END_ /* as an answer: there is none */

struct fake_recovery {
	struct fake_libvirt *libvirt;
	struct fake_domain *web;
	struct guest_dir dir;

	/* The destination's answers, one after the other, the last one from then on. */
	enum wire_state answers[4];
	unsigned int answer, queries, discards;
	struct peer asked; /* the last time */

	uint64_t now_us;
	unsigned int pauses;
	void (*on_pause)(void);

	/* Who has the guest's memory: what trying to open it returns. */
	int ram_own, ram_keeper, ram_qemu;
	bool found_in_qemu; /* by its file */

	/* QEMU, which has the memory to itself: its pidfd cannot be had; as a process; signals. */
	int qemu_ret;
	atomic_bool frozen; /* by whoever stands in for libvirt's client, too */
	bool has_job;	    /* by which libvirt lets nobody resume it */
	char signals[64];
	unsigned int reopened_ended;

	/* The page link: what becomes of it as soon as it is made; BROKEN: nothing. */
	enum page_link_state link_end;
	int link_ret, judgement;
	struct page_link_options link; /* as it was made */
	struct peer link_peer;
	uint64_t link_rate;
	unsigned int links, links_destroyed;

	bool nobody_listens; /* on the guest's private monitor */
	unsigned int quieted;

	int server_ret;
	void (*on_server)(void);
	struct server_options server; /* as it was run */
	char server_session[64];
	unsigned int servers;
};

static struct fake_recovery fake;

static inline int fake_ask(const struct peer *peer, enum wire_type question, const uint8_t uuid[16],
			   enum wire_state *state, struct errtext *err)
{
	cr_expect_eq(memcmp(uuid, fake.web->info.uuid_bytes, 16), 0);
	fake.asked = *peer;
	fake.queries += question == WIRE_QUERY;
	fake.discards += question == WIRE_DISCARD;
	*state = fake.answers[fake.answer];
	if (fake.answer + 1 < sizeof(fake.answers) / sizeof(*fake.answers) &&
	    fake.answers[fake.answer + 1])
		fake.answer++;
	return *state == NOBODY ? errtext_set(err, -ECONNREFUSED, "nobody listens there") : 0;
}

static inline int fake_reopen_ram(pid_t holder, const struct ram_keep *keep, struct ram_map *map,
				  struct errtext *err)
{
	(void)keep;
	(void)map;
	(void)err;
	return holder == getpid() ? fake.ram_own : fake.ram_keeper;
}

static inline int fake_reopen_found(pid_t qemu, uint64_t started, const struct ram_keep *keep,
				    struct ram_map *map, struct errtext *err)
{
	(void)keep;
	(void)map;
	(void)err;
	cr_expect_eq(qemu, 4711);
	cr_expect_eq(started, 17);
	return fake.found_in_qemu ? 0 : -ESRCH;
}

static inline int fake_find_ram(pid_t qemu, bool writable, struct ram_map *ram, struct errtext *err)
{
	(void)ram;
	cr_expect_eq(qemu, fake.web->qemu);
	cr_expect_not(writable);
	return fake.ram_qemu < 0 ? errtext_set(err, fake.ram_qemu, "no RAM there") : 0;
}

static inline int fake_reopen_ended(const struct ram_keep *keep, struct ram_map *map,
				    struct errtext *err)
{
	(void)keep;
	(void)map;
	(void)err;
	fake.reopened_ended++;
	return 0;
}

static inline int fake_hold_qemu(const struct ram_keep *keep, int *pidfd, struct errtext *err)
{
	(void)err;
	if (keep->count == 0 || !keep->blocks[0].private_to)
		return -ENOENT;
	if (fake.qemu_ret == 0)
		*pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fake.qemu_ret;
}

/* libvirt hears of its end at once. */
static inline int fake_signal_process(int pidfd, int signal, struct errtext *err)
{
	bool frozen = signal == SIGSTOP || (fake.frozen && signal != SIGCONT);

	(void)err;
	cr_expect_geq(pidfd, 0);
	strcat(fake.signals, signal == SIGSTOP ? "stop " : signal == SIGCONT ? "cont " : "kill ");
	if (signal == SIGKILL) {
		cr_expect(frozen || fake.has_job, "what waits in its monitor would be done");
		fake.qemu_ret = -ESRCH;
		fake_libvirt_kill(fake.libvirt, UUID);
	}
	fake.frozen = frozen; /* last: another thread waits for it */
	return 0;
}

static inline bool fake_process_has_ended(int pidfd)
{
	cr_expect_geq(pidfd, 0);
	return fake.qemu_ret == -ESRCH;
}

static inline int fake_resume_link(const struct page_link_options *options, struct page_link **out,
				   struct errtext *err)
{
	if (fake.link_ret < 0)
		return errtext_set(err, fake.link_ret, "no link");
	fake.links++;
	fake.link = *options;
	fake.link_peer = *options->peer;
	fake.link_rate = options->pacer ? pacer_rate(options->pacer) : 0;
	*out = (struct page_link *)&fake;
	if (fake.link_end != PAGE_LINK_BROKEN)
		options->changed(options->opaque, fake.link_end, "the guest has ended there");
	return 0;
}

static inline int fake_judge_link(struct page_link *l, const char *domain, const char *host,
				  struct errtext *err)
{
	cr_expect_eq(l, (struct page_link *)&fake);
	return fake.judgement < 0
		       ? errtext_set(err, fake.judgement, "%s on %s: damaged", domain, host)
		       : 0;
}

static inline void fake_destroy_link(struct page_link *l)
{
	fake.links_destroyed += l != NULL;
}

static inline int fake_run_server(const struct server_options *options, struct errtext *err)
{
	fake.servers++;
	fake.server = *options;
	snprintf(fake.server_session, sizeof(fake.server_session), "%s", options->session);
	if (fake.on_server)
		fake.on_server();
	return fake.server_ret < 0 ? errtext_set(err, fake.server_ret, "the port is taken")
				   : fake.server_ret;
}

static inline bool fake_is_its_qemu(pid_t pid, const char *uuid)
{
	(void)pid;
	(void)uuid;
	return true;
}

static inline int fake_find_qemu(const char *monitor_path, pid_t *qemu, uint64_t *started)
{
	cr_expect_str_eq(monitor_path, fake.dir.monitor);
	*qemu = fake.web->qemu;
	*started = 17;
	return fake.nobody_listens ? -ECONNREFUSED : 0;
}

static inline int fake_end_unless_resumed(pid_t qemu, uint64_t started, const char *monitor_path,
					  bool released, struct errtext *err)
{
	cr_expect_not(released);
	(void)started;
	(void)err;
	cr_expect_eq(qemu, fake.web->qemu);
	cr_expect_str_eq(monitor_path, fake.dir.monitor);
	fake_libvirt_kill(fake.libvirt, UUID);
	return 0;
}

/* Not before it is on record that the guest has run: the log alone tells that. */
static inline void fake_quiet_monitor(const char *monitor_path)
{
	struct record r = {0};

	cr_expect_str_eq(monitor_path, fake.dir.monitor);
	cr_assert_eq(record_read(&fake.dir, RECORD_INCOMING, &r, NULL), 0);
	cr_expect(r.resumed);
	record_destroy(&r);
	fake.quieted++;
}

static inline uint64_t fake_now_us(void)
{
	return fake.now_us;
}

static inline void fake_pause(uint64_t for_us)
{
	fake.now_us += for_us;
	fake.pauses++;
	if (fake.on_pause)
		fake.on_pause();
}

static const struct recover_world fake_world = {
	.ask = fake_ask,
	.reopen_ram = fake_reopen_ram,
	.reopen_found = fake_reopen_found,
	.find_ram = fake_find_ram,
	.reopen_ended = fake_reopen_ended,
	.hold_qemu = fake_hold_qemu,
	.signal_process = fake_signal_process,
	.process_has_ended = fake_process_has_ended,
	.resume_link = fake_resume_link,
	.judge_link = fake_judge_link,
	.destroy_link = fake_destroy_link,
	.run_server = fake_run_server,
	.find_qemu = fake_find_qemu,
	.is_qemu = fake_is_its_qemu,
	.end_unless_resumed = fake_end_unless_resumed,
	.quiet_monitor = fake_quiet_monitor,
	.now_us = fake_now_us,
	.pause = fake_pause,
};

/* ---- what a test writes ---- */

/* A guest in this state, whose records are in fake.dir, which is not locked. */
static inline void fake_recovery_setup(enum domain_state state)
{
	own_run();
	fake = (struct fake_recovery){.ram_keeper = -ESRCH, .ram_qemu = -ESRCH};
	fake.libvirt = fake_libvirt_new("/here");
	fake.web = fake_libvirt_add(fake.libvirt, "web", UUID, state);
	fake.web->info.persistent = true;
	guest_dir_paths(&fake.dir, UUID);
	cr_assert_eq(mkdir(GUEST_DIR_ROOT, 0711), 0);
	cr_assert_eq(mkdir(fake.dir.path, 0711), 0);
}

static inline void fake_recovery_teardown(void)
{
	cr_expect_eq(fake.links, fake.links_destroyed, "a page link is left");
	fake_libvirt_destroy(fake.libvirt);
}

static inline struct recover_options fake_recovery_options(uint32_t wait_ms)
{
	return (struct recover_options){.domain = UUID, .wait_ms = wait_ms, .world = &fake_world};
}

/* Of a guest that was handed over in post-copy from here to b, and is running. */
static inline struct record fake_recovery_record(void)
{
	return (struct record){.domain = "web",
			       .uuid = UUID,
			       .host = "b",
			       .port = 7470,
			       .session = SESSION,
			       .bind = "10.78.0.11",
			       .congestion = "bbr",
			       .silence_ms = 3000,
			       .bandwidth = 24 << 20,
			       .streams = 3,
			       .released = true,
			       .persistent = true,
			       .running = true,
			       .post_copy = true};
}

static inline void fake_recovery_write(enum record_kind kind, const struct record *r)
{
	struct errtext err = {0};

	mkdir(fake.dir.path, 0711); /* it has gone with the record before */
	cr_assert_eq(record_write(&fake.dir, kind, r, &err), 0, "%s", err.text);
}

static inline bool fake_recovery_has_record(enum record_kind kind)
{
	struct record r;

	if (record_read(&fake.dir, kind, &r, NULL) < 0)
		return false;
	record_destroy(&r);
	return true;
}
