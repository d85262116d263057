// SPDX-License-Identifier: Apache-2.0
// Post-copy inside one process: a page server with its RAM, sockets, and a "guest" mapping of the
// other RAM whose missing pages are real.
//
// postcopy_init, postcopy_owe..., postcopy_begin, postcopy_connect, then the guest touches pages,
// then postcopy_await_complete and postcopy_end. postcopy_cut, postcopy_resume and
// another postcopy_connect are a lost connection; with postcopy_forget after the cut, the death of
// dray at the destination.
#pragma once

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "destination.h"
#include "fault_handler.h"
#include "guest_ram.h"
#include "missing.h"
#include "owed.h"
#include "page_server.h"
#include "placer.h"
#include "uring_stream.h"

#define POSTCOPY_LINKS_MAX 4
#define POSTCOPY_ROUND 99

struct postcopy;

/* One connection with a thread at each end. */
struct postcopy_link {
	struct postcopy *p;
	unsigned int index;
	bool fault; /* else push */
	struct byte_stream *at_source, *at_destination;
	pthread_t source, destination;
	int source_result, destination_result;
	struct errtext source_err, destination_err;
};

struct postcopy {
	struct ram_map from, to;
	struct page_server_options serving; /* what the test wants of it */
	unsigned int fault_links, push_links;
	char path[64]; /* of the owed set, while open */

	int uffd, owed_fd;
	struct owed *owed;
	struct destination *destination;
	struct placer *placer;
	struct fault_handler *handler;
	struct page_server *server;
	struct postcopy_link links[2 * POSTCOPY_LINKS_MAX];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	unsigned int completed, synced;
};

static inline void postcopy_synced(void *opaque, unsigned int stream, uint32_t round)
{
	struct postcopy *p = opaque;

	(void)stream;
	pthread_mutex_lock(&p->lock);
	p->synced += round == POSTCOPY_ROUND;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static inline void postcopy_complete(void *opaque)
{
	struct postcopy *p = opaque;

	pthread_mutex_lock(&p->lock);
	p->completed++;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static inline void postcopy_start_destination(struct postcopy *p, bool running)
{
	struct destination_options opt = {.ram = &p->to, .synced = postcopy_synced, .opaque = p};
	struct errtext err = {0};

	opt.running = running;
	cr_assert_eq(destination_new(&opt, &p->destination, &err), 0, "%s", err.text);
	destination_expect_stale(p->destination, p->owed, NULL);
}

static inline void postcopy_init_empty(struct postcopy *p)
{
	*p = (struct postcopy){.fault_links = 2, .push_links = 2, .uffd = -1};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
}

/* Its file has no name, so that nothing is left of a test that fails. */
static inline void postcopy_create_owed(struct postcopy *p)
{
	struct errtext err = {0};

	snprintf(p->path, sizeof(p->path), "/dev/shm/dray-test-owed.%d", getpid());
	cr_assert_eq(owed_create(p->path, &p->to, &p->owed, &err), 0, "%s", err.text);
	p->owed_fd = open(p->path, O_RDWR | O_CLOEXEC);
	unlink(p->path);
	snprintf(p->path, sizeof(p->path), "/proc/self/fd/%d", p->owed_fd);
}

/* One block; every page of the source filled by its number plus one. */
static inline void postcopy_init(struct postcopy *p, uint64_t pages, uint32_t page_size)
{
	postcopy_init_empty(p);
	guest_ram_add(&p->from, "pc.ram", pages << RAM_PAGE_SHIFT, page_size);
	guest_ram_add(&p->to, "pc.ram", pages << RAM_PAGE_SHIFT, page_size);
	for (uint64_t page = 0; page < pages; page++)
		guest_write(&p->from.blocks[0], page, page + 1);
	postcopy_create_owed(p);
	postcopy_start_destination(p, false);
}

/* Pages that the destination lacks, as after the stale rounds. */
static inline void postcopy_owe(struct postcopy *p, uint64_t first, uint64_t count)
{
	struct errtext err = {0};

	owed_set(p->owed, 0, first, count);
	cr_assert_eq(missing_make(&p->to.blocks[0], first, count, &err), 0, "%s", err.text);
}

static inline int postcopy_userfaultfd(unsigned long long features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		cr_skip_test("no userfaultfd for missing shared memory: %s", strerror(errno));
	return fd;
}

static inline void postcopy_handle_faults(struct postcopy *p)
{
	struct placer_options placing = {.uffd = p->uffd,
					 .ram = &p->to,
					 .owed = p->owed,
					 .complete = postcopy_complete,
					 .opaque = p};
	struct fault_handler_options handling = {.uffd = p->uffd, .ram = &p->to, .owed = p->owed};
	struct errtext err = {0};

	cr_assert_eq(placer_new(&placing, &p->placer, &err), 0, "%s", err.text);
	handling.placer = p->placer;
	cr_assert_eq(fault_handler_new(&handling, &p->handler, &err), 0, "%s", err.text);
	destination_place(p->destination, p->placer);
}

static inline void postcopy_resume(struct postcopy *p)
{
	struct errtext err = {0};

	postcopy_handle_faults(p);
	cr_assert_eq(placer_begin(p->placer, &err), 0, "%s", err.text);
}

/* The guest may touch its memory from now on. */
static inline void postcopy_begin(struct postcopy *p)
{
	struct errtext err = {0};

	p->uffd = postcopy_userfaultfd(MISSING_FEATURES);
	cr_assert_eq(missing_register(p->uffd, &p->to, false, &err), 0, "%s", err.text);
	owed_seal(p->owed);
	postcopy_resume(p);
}

static inline void *postcopy_source_main(void *arg)
{
	struct postcopy_link *l = arg;

	l->source_result =
		l->fault ? page_server_serve(l->p->server, l->index, l->at_source, &l->source_err)
			 : page_server_push(l->p->server, l->index, l->at_source, &l->source_err);
	return NULL;
}

static inline void *postcopy_destination_main(void *arg)
{
	struct postcopy_link *l = arg;

	l->destination_result =
		l->fault ? fault_handler_serve(l->p->handler, l->index, l->at_destination,
					       &l->destination_err)
			 : destination_receive(l->p->destination, l->index, l->at_destination,
					       &l->destination_err);
	return NULL;
}

static inline void postcopy_sockets(struct byte_stream *streams[2])
{
	struct errtext err = {0};
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(uring_stream_new(fds[i], NULL, &streams[i], &err), 0, "%s", err.text);
}

static inline void postcopy_link_up(struct postcopy *p, unsigned int i)
{
	struct postcopy_link *l = &p->links[i];
	struct byte_stream *streams[2];

	postcopy_sockets(streams);
	*l = (struct postcopy_link){.p = p, .index = i, .fault = i < p->fault_links};
	l->at_source = streams[0];
	l->at_destination = streams[1];
	cr_assert_eq(pthread_create(&l->destination, NULL, postcopy_destination_main, l), 0);
	cr_assert_eq(pthread_create(&l->source, NULL, postcopy_source_main, l), 0);
}

static inline void postcopy_tell_owed(struct postcopy *p, unsigned int block)
{
	const uint64_t pages = ram_block_pages(&p->to.blocks[block]);
	uint64_t at = 0;

	while ((at = owed_next(p->owed, block, at, pages)) < pages) {
		uint64_t clear = owed_next_clear(p->owed, block, at, pages);
		struct wire_run run = {at, (uint32_t)(clear - at)};

		page_server_owe_run(p->server, block, &run);
		at = clear;
	}
}

/* A new page server, which has to send what is owed, and connections to it. */
static inline void postcopy_connect(struct postcopy *p)
{
	struct errtext err = {0};

	p->serving.ram = &p->from;
	p->serving.round = POSTCOPY_ROUND;
	cr_assert_eq(page_server_new(&p->serving, &p->server, &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < p->to.count; i++)
		postcopy_tell_owed(p, i);
	for (unsigned int i = 0; i < p->fault_links + p->push_links; i++)
		postcopy_link_up(p, i);
}

static inline void postcopy_link_down(struct postcopy_link *l)
{
	pthread_join(l->destination, NULL);
	l->at_destination->ops->destroy(l->at_destination);
	pthread_join(l->source, NULL);
	l->at_source->ops->destroy(l->at_source);
}

static inline void postcopy_join(struct postcopy *p)
{
	for (unsigned int i = 0; i < p->fault_links + p->push_links; i++)
		postcopy_link_down(&p->links[i]);
	page_server_destroy(p->server);
	p->server = NULL;
}

/* All connections are lost at once. */
static inline void postcopy_cut(struct postcopy *p)
{
	for (unsigned int i = 0; i < p->fault_links + p->push_links; i++)
		p->links[i].at_source->ops->shutdown(p->links[i].at_source);
	fault_handler_stop(p->handler); /* those with nothing to do do not notice */
	page_server_stop(p->server);
	postcopy_join(p);
	fault_handler_destroy(p->handler);
	placer_destroy(p->placer);
	p->placer = NULL;
	p->handler = NULL;
}

/* After a cut: all that dray knew is gone, but for the file and the userfaultfd; faults that it had
 * read, too. */
static inline void postcopy_forget(struct postcopy *p)
{
	struct errtext err = {0};
	struct uffd_msg msg;

	destination_destroy(p->destination);
	owed_close(p->owed);
	while (read(p->uffd, &msg, sizeof(msg)) == sizeof(msg))
		;
	cr_assert_eq(owed_open(p->path, &p->to, &p->owed, &err), 0, "%s", err.text);
	cr_assert(owed_sealed(p->owed));
	postcopy_start_destination(p, true);
}

static inline void postcopy_await_complete(struct postcopy *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->completed)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static inline void postcopy_await_synced(struct postcopy *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->synced < p->push_links)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static inline void postcopy_free(struct postcopy *p)
{
	fault_handler_destroy(p->handler);
	placer_destroy(p->placer);
	destination_destroy(p->destination);
	owed_close(p->owed);
	close(p->owed_fd);
	if (p->uffd >= 0)
		close(p->uffd);
	guest_ram_destroy(&p->from);
	guest_ram_destroy(&p->to);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
}

/* An orderly end: the fault handler first, whose leaving ends the other side. */
static inline void postcopy_end(struct postcopy *p)
{
	struct errtext err = {0};

	if (p->server) {
		fault_handler_stop(p->handler);
		page_server_stop(p->server);
		for (unsigned int i = p->fault_links; i < p->fault_links + p->push_links; i++) {
			struct postcopy_link *l = &p->links[i];

			pthread_join(l->source, NULL);
			l->at_source->ops->destroy(l->at_source);
			pthread_join(l->destination, NULL);
			l->at_destination->ops->destroy(l->at_destination);
			cr_assert_eq(l->destination_result, 0, "%s", l->destination_err.text);
		}
		for (unsigned int i = 0; i < p->fault_links; i++) {
			postcopy_link_down(&p->links[i]);
			cr_assert_eq(p->links[i].destination_result, 0, "%s",
				     p->links[i].destination_err.text);
			cr_assert_eq(p->links[i].source_result, 0, "%s",
				     p->links[i].source_err.text);
		}
		page_server_destroy(p->server);
	}
	cr_assert_eq(missing_unregister(p->uffd, &p->to, &err), 0, "%s", err.text);
	postcopy_free(p);
}

/* As the guest sees it; waits if it is missing. */
static inline void postcopy_expect_page(const struct postcopy *p, uint64_t page, uint64_t seed)
{
	uint8_t content[RAM_PAGE_SIZE];

	guest_fill(content, seed);
	if (memcmp(guest_page(&p->to.blocks[0], page), content, RAM_PAGE_SIZE) != 0)
		cr_assert_fail("page %llu differs", (unsigned long long)page);
}

static inline void postcopy_expect_zero(const struct postcopy *p, uint64_t page)
{
	static const uint8_t zeroes[RAM_PAGE_SIZE];

	cr_assert_eq(memcmp(guest_page(&p->to.blocks[0], page), zeroes, RAM_PAGE_SIZE), 0,
		     "page %llu is not zero", (unsigned long long)page);
}
