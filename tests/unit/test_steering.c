// SPDX-License-Identifier: Apache-2.0
// What the world may do to a running migration: signals, the caller's death, the status socket.
#include "steering.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "clock.h"
#include "json_field.h"
#include "live.h"
#include "signals.h"

#define PATIENCE_MS 20000

TestSuite(steering, .timeout = 60);

static const struct steering_limits limits = {.bandwidth = 1000, .max_downtime_ms = 300};
static struct mailbox *box;
static struct steering *steering;
static char dir[40], path[64];

static void setup(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	cr_assert_eq(mailbox_new(&box), 0);
	cr_assert_eq(steering_new(false, &limits, &steering, NULL), 0);
	steering_attach(steering, box);
}

static void listen_there(void)
{
	strcpy(dir, "/dev/shm/dray-steering-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	cr_assert_eq(steering_listen(steering, path, NULL), 0);
}

static void teardown(void)
{
	steering_destroy(steering);
	mailbox_destroy(box);
	if (dir[0])
		cr_expect_eq(rmdir(dir), 0, "%s: something was left", dir);
}

static void expect_mail(enum mail_kind kind, const char *text)
{
	struct mail mail;

	mailbox_take(box, clock_monotonic_us() + PATIENCE_MS * 1000ull, &mail);
	cr_assert_eq(mail.kind, kind);
	cr_expect_str_eq(mail.text, text);
}

static void expect_none(void)
{
	struct mail mail;

	mailbox_take(box, 0, &mail);
	cr_expect_eq(mail.kind, MAIL_NONE, "%d", mail.kind);
}

/* The reply, or NULL and the text of a refusal. */
static json_object *ask(const char *request, struct errtext *err)
{
	_cleanup_json_ json_object *o = json_tokener_parse(request);
	json_object *reply = NULL;

	cr_assert_not_null(o);
	*err = (struct errtext){0};
	if (live_call(path, o, &reply, PATIENCE_MS, err) < 0)
		cr_expect_neq(err->text[0], '\0');
	return reply;
}

static bool is_accepted(const char *request, struct errtext *err)
{
	_cleanup_json_ json_object *reply = ask(request, err);

	return reply != NULL;
}

Test(steering, signals_call_it_off)
{
	setup();
	kill(getpid(), SIGTERM);
	expect_mail(MAIL_CANCEL, "cancelled by SIGTERM");
	kill(getpid(), SIGINT);
	expect_mail(MAIL_CANCEL, "cancelled by SIGINT");
	teardown();
}

/* A child of ours starts a child that steers, and dies. */
Test(steering, the_callers_death_calls_it_off)
{
	int ready[2], told[2];
	char text[128] = "";
	pid_t caller;

#ifdef __SANITIZE_THREAD__
	cr_skip_test("its runtime ends a forked process that starts threads");
#endif
	cr_assert_eq(pipe(ready), 0);
	cr_assert_eq(pipe(told), 0);
	caller = fork();
	if (caller == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive a test that fails */
		if (fork() == 0) {
			struct mail mail;

			setup();
			steering_destroy(steering);
			cr_assert_eq(steering_new(true, &limits, &steering, NULL), 0);
			steering_attach(steering, box);
			cr_assert_eq(write(ready[1], "", 1), 1);
			mailbox_take(box, clock_monotonic_us() + PATIENCE_MS * 1000ull, &mail);
			cr_assert_gt(write(told[1], mail.text, strlen(mail.text)), 0);
			_exit(0);
		}
		pause();
	}
	cr_assert_eq(read(ready[0], text, 1), 1);
	kill(caller, SIGKILL);
	cr_assert_gt(read(told[0], text, sizeof(text) - 1), 0);
	cr_expect_not_null(strstr(text, "--die-with-parent"), "%s", text);
	waitpid(caller, NULL, 0);
}

/* It has been called off between two attempts: the next one hears of it at once. */
Test(steering, a_cancel_is_remembered)
{
	setup();
	steering_attach(steering, NULL);
	cr_expect(steering_cancel(steering, "first"));
	cr_expect(steering_cancel(steering, "second"));
	cr_expect_not(steering_pause(steering, 3600));
	steering_attach(steering, box);
	expect_mail(MAIL_CANCEL, "first");
	cr_expect_not(steering_commit(steering));
	teardown();
}

/* However busy the machine is. */
Test(steering, a_signal_that_came_before_is_not_too_late)
{
	signals_block();
	for (unsigned int i = 0; i < 200; i++) {
		struct steering *s;

		cr_assert_eq(steering_new(false, &limits, &s, NULL), 0);
		cr_assert_eq(kill(getpid(), SIGTERM), 0);
		cr_assert_not(steering_commit(s), "%u", i);
		steering_destroy(s);
	}
}

Test(steering, once_committed_it_cannot_be_called_off)
{
	struct errtext err;

	setup();
	listen_there();
	cr_expect(steering_commit(steering));
	cr_expect_not(steering_cancel(steering, "too late"));
	cr_expect_not(is_accepted("{\"command\":\"cancel\"}", &err));
	cr_expect_not_null(strstr(err.text, "too late to call the migration off"), "%s", err.text);
	expect_none();
	/* A new attempt can be. */
	steering_attach(steering, box);
	cr_expect(steering_cancel(steering, "again"));
	expect_mail(MAIL_CANCEL, "again");
	teardown();
}

Test(steering, a_pause_ends_by_itself)
{
	setup();
	cr_expect(steering_pause(steering, 0));
	teardown();
}

Test(steering, the_status_is_what_was_shown_last)
{
	struct steering_status status = {.domain = "web",
					 .host = "there",
					 .phase = PHASE_PRECOPY,
					 .mode = "PreCopy",
					 .lane = "direct",
					 .tls = true,
					 .round = 3,
					 .remaining_bytes = 77,
					 .queued_ahead = 1};
	struct errtext err;
	_cleanup_json_ json_object *reply = NULL;
	json_object *o;

	setup();
	listen_there();
	cr_expect_eq(steering_listen(steering, path, NULL), 0, "once is enough");
	steering_show(steering, &status);
	reply = ask("{\"command\":\"status\"}", &err);
	cr_assert_not_null(reply, "%s", err.text);
	o = json_field(reply, "status");
	cr_expect_str_eq(json_object_get_string(json_field(o, "domain")), "web");
	cr_expect_str_eq(json_object_get_string(json_field(o, "phase")), "pre-copy");
	cr_expect_str_eq(json_object_get_string(json_field(o, "direction")), "outgoing");
	cr_expect(json_object_get_boolean(json_field(o, "tls")));
	cr_expect_eq(json_object_get_int64(json_field(o, "remaining_bytes")), 77);
	cr_expect_eq(json_object_get_int64(json_field(o, "bandwidth")), 1000);
	cr_expect_eq(json_object_get_int64(json_field(o, "queued_ahead")), 1);
	cr_expect_eq(json_object_get_int64(json_field(o, "pid")), getpid());
	teardown();
}

Test(steering, limits_change_and_others_do_not)
{
	struct steering_limits now;
	struct errtext err;

	setup();
	listen_there();
	cr_expect(is_accepted("{\"command\":\"set\",\"values\":{\"bandwidth\":\"1Mi\"}}", &err));
	expect_mail(MAIL_SET, "bandwidth set to 1Mi");
	cr_expect(is_accepted("{\"command\":\"set\",\"values\":{\"post-copy\":\"yes\"}}", &err));
	expect_mail(MAIL_SET, "post-copy set to yes");
	cr_expect(is_accepted("{\"command\":\"set\",\"values\":{\"max-downtime\":\"20\"}}", &err));
	expect_mail(MAIL_SET, "max-downtime set to 20");
	cr_expect_not(is_accepted("{\"command\":\"set\",\"values\":{\"streams\":\"4\"}}", &err));
	cr_expect_not_null(strstr(err.text, "streams cannot be changed"), "%s", err.text);
	cr_expect_not(
		is_accepted("{\"command\":\"set\",\"values\":{\"bandwidth\":\"64MB\"}}", &err));
	expect_none();
	steering_limits(steering, &now);
	cr_expect_eq(now.bandwidth, 1 << 20);
	cr_expect_eq(now.max_downtime_ms, 20);
	cr_expect(now.post_copy);
	teardown();
}
