// SPDX-License-Identifier: Apache-2.0
// The source's other connections to a fake destination (fake_destination.h): a page link that
// answers, and streams that carry one page.
#pragma once

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "control.h"
#include "incoming.h"
#include "ram_map.h"
#include "socket.h"
#include "wire.h"

#define FAKE_PAGE 3u /* the one that streams carry */
#define FAKE_BYTE 0x5a
#define FAKE_LINKS 4

struct fake_joining {
	struct receiver *receiver;
	struct wire_hello hello;
	int fd, result;
	struct errtext err;
	pthread_t thread;
};

static inline void *fake_joining_main(void *arg)
{
	struct fake_joining *j = arg;
	const struct door_terms terms = {0};

	j->result = incoming_join(j->receiver, line_plain(j->fd), &j->hello, &terms, &j->err);
	return NULL;
}

/* A connection of this kind, served by a thread of its own: the source's end. */
static inline int fake_join(struct fake_joining *j, struct receiver *receiver,
			    const uint8_t session[WIRE_SESSION_SIZE], enum wire_kind kind)
{
	int pair[2];

	*j = (struct fake_joining){.receiver = receiver, .hello = {.kind = kind}};
	memcpy(j->hello.session, session, WIRE_SESSION_SIZE);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	j->fd = pair[0];
	cr_assert_eq(pthread_create(&j->thread, NULL, fake_joining_main, j), 0);
	return pair[1];
}

/* ---- streams ---- */

static inline void fake_send_frame(int fd, enum wire_frame_type type)
{
	struct wire_frame frame = {.type = type, .runs = type != WIRE_FRAME_SYNC};
	uint8_t head[WIRE_FRAME_SIZE], page[RAM_PAGE_SIZE];

	frame.run[0] = (struct wire_run){FAKE_PAGE, 1};
	frame.round = 1;
	wire_frame_encode(&frame, head);
	cr_assert_eq(socket_write_full(fd, head, sizeof(head), 1000), 0);
	memset(page, FAKE_BYTE, sizeof(page));
	if (type == WIRE_FRAME_PAGES)
		cr_assert_eq(socket_write_full(fd, page, sizeof(page), 1000), 0);
}

/* All of it has been taken when this returns. */
static inline void fake_stream(struct receiver *receiver, const uint8_t session[WIRE_SESSION_SIZE],
			       enum wire_kind kind, enum wire_frame_type type)
{
	struct fake_joining j;
	int fd = fake_join(&j, receiver, session, kind);

	fake_send_frame(fd, type);
	fake_send_frame(fd, WIRE_FRAME_SYNC);
	shutdown(fd, SHUT_WR);
	pthread_join(j.thread, NULL);
	close(fd);
	cr_assert_eq(j.result, 0, "%s", j.err.text);
}

static inline void *fake_touch(void *page)
{
	return (void *)(uintptr_t) * (volatile uint8_t *)page;
}

/* The guest, a thread of the test, reads the page, which is missing. Whoever serves faults waits
 * for the next one when this returns: *j is to be joined, and the descriptor closed, later. */
static inline int fake_fault(struct fake_joining *j, struct receiver *receiver,
			     const uint8_t session[WIRE_SESSION_SIZE], const struct ram_map *ram,
			     uint8_t *guest_ram)
{
	uint8_t buf[WIRE_PAGE_REQUEST_SIZE];
	struct wire_page_request request;
	pthread_t guest;
	void *byte;
	int fd = fake_join(j, receiver, session, WIRE_KIND_FAULT);

	cr_assert_eq(
		pthread_create(&guest, NULL, fake_touch, guest_ram + FAKE_PAGE * RAM_PAGE_SIZE), 0);
	cr_assert_eq(socket_read_full(fd, buf, sizeof(buf), 10000), 0);
	cr_assert_eq(wire_page_request_decode(buf, ram, &request, NULL), 0);
	cr_assert_eq(request.first, FAKE_PAGE);
	fake_send_frame(fd, WIRE_FRAME_PAGES);
	pthread_join(guest, &byte);
	cr_assert_eq((uintptr_t)byte, FAKE_BYTE);
	return fd;
}

/* ---- the page link ---- */

struct fake_link {
	int fd;
	pthread_t thread;
	char said[256]; /* by the destination */
	char why[256];	/* the text of ABORT */
};

static inline void fake_link_send(int fd, enum wire_type type)
{
	const struct wire_message m = {.type = type};
	uint8_t buf[64];
	long len = wire_message_encode(&m, buf, sizeof(buf));

	cr_assert_gt(len, 0);
	if (socket_write_full(fd, buf, (size_t)len, 1000) < 0)
		return; /* it does not wait for an answer */
}

static inline void fake_link_give_up(int fd, const char *why)
{
	const struct wire_message m = {.type = WIRE_ABORT, .abort = {why}};
	uint8_t buf[1024];
	long len = wire_message_encode(&m, buf, sizeof(buf));

	cr_assert_gt(len, 0);
	cr_assert_eq(socket_write_full(fd, buf, (size_t)len, 1000), 0);
}

static inline void fake_link_answer(struct fake_link *l, const struct wire_message *m)
{
	if (m->type == WIRE_PING)
		return;
	strcat(strcat(l->said, l->said[0] ? " " : ""), wire_type_name(m->type));
	if (m->type == WIRE_ABORT)
		snprintf(l->why, sizeof(l->why), "%s", m->abort.text);
	if (m->type == WIRE_PROOF)
		fake_link_send(l->fd, WIRE_PROVEN);
	if (m->type == WIRE_COMPLETE)
		fake_link_send(l->fd, WIRE_FINISH);
}

static inline void *fake_link_main(void *arg)
{
	struct fake_link *l = arg;
	struct wire_message m;

	while (control_read_one(line_plain(l->fd), -1, &m, NULL) == 0) {
		fake_link_answer(l, &m);
		wire_message_destroy(&m);
	}
	close(l->fd);
	return NULL;
}

/* The destination's end is handed to `serve`. */
static inline int fake_link_open(struct fake_link *l)
{
	int pair[2];

	*l = (struct fake_link){0};
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	l->fd = pair[1];
	cr_assert_eq(pthread_create(&l->thread, NULL, fake_link_main, l), 0);
	return pair[0];
}
