// SPDX-License-Identifier: Apache-2.0
// The proof, in post-copy, that what the guest has not written since is what the source had.
//
// It begins after the last page, while the tracked userfaultfd is still registered, and goes piece
// by piece over the link: while the source compares one, the destination hashes the next. When the
// link breaks, both sides begin anew with the next link.
#include "incoming_prove.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cleanup.h"
#include "clock.h"
#include "failure_point.h"
#include "incoming_private.h"
#include "proof.h"

/* All of the guest's memory is here, so it can do without a proof: a source that does not come
 * back, or does not answer, is waited for so long. */
#define GIVE_UP_US 60000000
#define AGAIN_US 200000

/* Wait until the source has answered so many pieces over this link. */
static int await_answers(struct incoming *in, struct incoming_link *link, uint64_t count)
{
	struct receiver *r = in->receiver;
	const struct timespec until = clock_timespec(clock_realtime_us() + GIVE_UP_US);
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	while (ret == 0 && link->answers < count && !link->lost)
		ret = -pthread_cond_timedwait(&r->changed, &r->lock, &until);
	if (ret == 0 && link->answers < count)
		ret = -ECONNRESET;
	pthread_mutex_unlock(&r->lock);
	return ret;
}

static int send_pieces(struct incoming *in, struct incoming_link *link, struct proof *proof,
		       struct errtext *err)
{
	_cleanup_free_ struct wire_proof *piece = malloc(sizeof(*piece));
	const struct wire_message m = {.type = WIRE_PROOF, .proof = piece};
	uint64_t sent = 0;
	int ret = piece ? 1 : -ENOMEM;

	while (ret > 0) {
		ret = proof_next(proof, piece, err);
		if (ret <= 0)
			break;
		ret = await_answers(in, link, sent++);
		if (ret == 0)
			ret = control_send(link->control, &m) < 0 ? -ECONNRESET : 1;
	}
	return ret < 0 ? ret : await_answers(in, link, sent);
}

static int prove_over(struct incoming *in, struct incoming_link *link, struct errtext *err)
{
	struct tracker *tracker = NULL;
	struct proof *proof = NULL;
	int uffd = dup(in->postcopy.uffd), ret;

	if (uffd < 0)
		return errtext_set(err, -errno, "dup: %s", strerror(errno));
	ret = tracker_new(uffd, in->postcopy.qemu, &in->ram, &tracker, err);
	if (ret == 0)
		ret = proof_new(&in->ram, tracker, &proof, err);
	if (ret == 0)
		ret = send_pieces(in, link, proof, err);
	proof_destroy(proof);
	tracker_destroy(tracker);
	return ret;
}

/* ---- holes ---- */

/* Nothing is owed any more, so no page is asked for, and no stream is needed. */
static void *serve_holes(void *arg)
{
	struct errtext ignored = {0};

	(void)fault_handler_serve(arg, 0, NULL, &ignored);
	return NULL;
}

/* Pages that the source never used are still missing, and the threads that serve faults come and go
 * with the source's connections. The guest must not wait for a source because of a proof, so a
 * thread of the session serves such faults meanwhile. */
static void begin(struct incoming *in)
{
	const struct fault_handler_options handling = {.uffd = in->postcopy.uffd,
						       .ram = &in->ram,
						       .owed = in->postcopy.owed,
						       .placer = in->postcopy.placer};

	in->proof.give_up_us = in->world->now_us() + GIVE_UP_US;
	if (fault_handler_new(&handling, &in->proof.holes, NULL) == 0 &&
	    pthread_create(&in->proof.thread, NULL, serve_holes, in->proof.holes) == 0)
		return;
	fault_handler_destroy(in->proof.holes);
	in->proof.holes = NULL;
}

static void end(struct incoming *in)
{
	if (in->proof.holes) {
		fault_handler_stop(in->proof.holes);
		placer_hurry(in->postcopy.placer, true);
		pthread_join(in->proof.thread, NULL);
		fault_handler_destroy(in->proof.holes);
		in->proof.holes = NULL;
	}
	incoming_move(in, INCOMING_ARRIVED);
}

void incoming_prove(struct incoming *in)
{
	struct errtext err = {0};
	struct incoming_link *link = incoming_link_hold(in);
	int ret = -ECONNRESET;

	if (!in->proof.give_up_us)
		begin(in);
	if (link) {
		failure_point("proof");
		ret = prove_over(in, link, &err);
		incoming_link_let_go(link);
		in->proof.give_up_us = in->world->now_us() + GIVE_UP_US;
	}
	if (ret != -ECONNRESET || in->world->now_us() >= in->proof.give_up_us)
		end(in);
	else
		incoming_mail_take(in, AGAIN_US);
}
