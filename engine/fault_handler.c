// SPDX-License-Identifier: Apache-2.0
// Serves the guest's faults on missing pages at the destination.
//
// Who asks for a page claims it in `requested` first; who finds it claimed has nothing to do, as
// placing a page wakes all who wait for it. A claim is given back only if asking failed: a page
// that has been placed cannot be missing and owed again. Guesses that follow an answer are claimed
// before the answer is placed: the guest that goes on at once finds them on their way.
//
// Each thread has an epoll of its own, with EPOLLEXCLUSIVE: poll(2) would wake all for each fault.
// It reads one fault at a time, as it can wait for one page at a time; others take the rest.
#include "fault_handler.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include "atomic_bitmap.h"
#include "cleanup.h"
#include "clock.h"
#include "frame_reader.h"
#include "missing.h"
#include "wire.h"

struct fault_handler {
	/* constant after init */
	struct fault_handler_options opt;
	struct atomic_bitmap *requested; /* per block, one bit a unit */
	int stop;			 /* eventfd; readable for ever once stopped */
	size_t content_max;		 /* bytes that one frame may bring: a page, or guesses */

	/* relaxed: independent counters */
	atomic_uint_least64_t faults;
	struct histogram latency;
};

/* Private to one thread. */
struct fault_thread {
	struct fault_handler *h;
	unsigned int index;
	struct byte_stream *stream;
	struct frame_reader *reader;
	int epoll;
	uint8_t *bounce;			   /* h->content_max bytes */
	uint64_t claimed[WIRE_PREFETCH_PAGES_MAX]; /* units, of guesses that are on their way */
	unsigned int claims;
	uint8_t request[WIRE_PAGE_REQUEST_SIZE];
};

static int init_requested(struct fault_handler *h)
{
	const struct ram_map *ram = h->opt.ram;

	h->content_max = (size_t)WIRE_PREFETCH_PAGES_MAX << RAM_PAGE_SHIFT;
	h->requested = calloc(ram->count, sizeof(*h->requested));
	if (!h->requested)
		return -ENOMEM;
	for (unsigned int i = 0; i < ram->count; i++) {
		const struct ram_block *b = &ram->blocks[i];
		int ret = atomic_bitmap_init(&h->requested[i], b->size / b->page_size);

		if (ret < 0)
			return ret;
		if (b->page_size > h->content_max)
			h->content_max = b->page_size;
	}
	return 0;
}

int fault_handler_new(const struct fault_handler_options *options, struct fault_handler **out,
		      struct errtext *err)
{
	struct fault_handler *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return errtext_set(err, -ENOMEM, "out of memory");
	h->opt = *options;
	h->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = h->stop < 0 ? -errno : init_requested(h);
	if (ret < 0) {
		fault_handler_destroy(h);
		return errtext_set(err, ret, "cannot start serving faults: %s", strerror(-ret));
	}
	*out = h;
	return 0;
}

void fault_handler_destroy(struct fault_handler *h)
{
	if (!h)
		return;
	for (unsigned int i = 0; h->requested && i < h->opt.ram->count; i++)
		atomic_bitmap_destroy(&h->requested[i]);
	free(h->requested);
	cleanup_close(&h->stop);
	free(h);
}

void fault_handler_stop(struct fault_handler *h)
{
	(void)eventfd_write(h->stop, 1);
}

/* ---- asking ---- */

static int broken(const struct fault_thread *t, int ret, struct errtext *err)
{
	return errtext_set(err, ret, "fault connection %u to the source broke: %s", t->index,
			   strerror(-ret));
}

static int send_request(struct fault_thread *t, const struct wire_page_request *r,
			struct errtext *err)
{
	const struct iovec iov = {t->request, sizeof(t->request)};
	int ret;

	wire_page_request_encode(r, t->request);
	ret = t->stream->ops->send(t->stream, &iov, 1);
	if (ret == 0)
		ret = t->stream->ops->drain(t->stream);
	return ret < 0 ? broken(t, ret, err) : 0;
}

/* One is due: that the source closes is no clean end. */
static int next_frame(struct fault_thread *t, struct wire_frame *f, struct errtext *err)
{
	int ret = frame_reader_next(t->reader, f, err);

	return ret < 0 ? broken(t, ret == -ENODATA ? -ECONNRESET : ret, err) : 0;
}

static bool answers(const struct wire_frame *f, const struct wire_page_request *r)
{
	return (f->type == WIRE_FRAME_PAGES || f->type == WIRE_FRAME_ZERO) &&
	       f->block == r->block && f->runs == 1 && f->run[0].first == r->first &&
	       f->run[0].count == r->count;
}

/* A frame's pages, into t->bounce, and the head of the next if there is one. */
static int receive_content(struct fault_thread *t, const struct wire_frame *f, struct errtext *err)
{
	struct iovec iov[2] = {{t->bounce, frame_reader_size(f)}};
	int ret = 0;

	if (iov[0].iov_len)
		ret = frame_reader_pages(t->reader, iov, 1, f->flags & WIRE_FRAME_MORE);
	return ret < 0 ? broken(t, ret, err) : 0;
}

/* The pages asked for are in t->bounce, or zero, as *reply says. */
static int receive_reply(struct fault_thread *t, const struct wire_page_request *r,
			 struct wire_frame *reply, struct errtext *err)
{
	int ret = next_frame(t, reply, err);

	if (ret < 0)
		return ret;
	if (!answers(reply, r))
		return errtext_set(err, -EPROTO,
				   "fault connection %u: the source answered with other pages than "
				   "it was asked for",
				   t->index);
	return receive_content(t, reply, err);
}

/* The page did not come: the guest's threads that wait for it are woken, fault again, and one of
 * our threads asks anew. */
static void give_back(struct fault_thread *t, unsigned int block, uint64_t unit)
{
	const struct fault_handler_options *opt = &t->h->opt;
	uint32_t pages = owed_unit(opt->owed, block);
	struct errtext ignored = {0};

	atomic_bitmap_clear(&t->h->requested[block], unit, 1);
	(void)missing_wake(opt->uffd, &opt->ram->blocks[block], unit * pages, pages, &ignored);
}

/* ---- guesses ---- */

/* At most as many as were agreed on, in whole units: so they fit t->bounce and t->claimed. */
static bool is_guess(const struct fault_thread *t, const struct wire_frame *f)
{
	uint32_t unit = owed_unit(t->h->opt.owed, f->block);
	uint32_t most = unit > WIRE_PREFETCH_PAGES_MAX ? unit : WIRE_PREFETCH_PAGES_MAX;

	for (unsigned int i = 0; i < f->runs; i++)
		if (f->run[i].first % unit || f->run[i].count % unit)
			return false;
	return (f->type == WIRE_FRAME_PAGES || f->type == WIRE_FRAME_ZERO) &&
	       f->flags & WIRE_FRAME_PREFETCH && wire_frame_pages(f) <= most;
}

/* They are on their way: who faults on one of them need not ask for it. */
static void claim(struct fault_thread *t, const struct wire_frame *f)
{
	uint32_t unit = owed_unit(t->h->opt.owed, f->block);
	struct atomic_bitmap *requested = &t->h->requested[f->block];

	t->claims = 0;
	for (unsigned int i = 0; i < f->runs; i++)
		for (uint32_t n = 0; n < f->run[i].count; n += unit) {
			uint64_t at = (f->run[i].first + n) / unit;

			if (atomic_bitmap_set(requested, at, 1))
				t->claimed[t->claims++] = at;
		}
}

static void unclaim(struct fault_thread *t, unsigned int block)
{
	for (unsigned int i = 0; i < t->claims; i++)
		give_back(t, block, t->claimed[i]);
}

/* The next frame is one of guesses. */
static int expect_guesses(struct fault_thread *t, struct wire_frame *f, struct errtext *err)
{
	int ret = next_frame(t, f, err);

	if (ret < 0)
		return ret;
	if (!is_guess(t, f))
		return errtext_set(err, -EPROTO,
				   "fault connection %u: the source sent pages that nobody asked "
				   "for, which are no guesses",
				   t->index);
	claim(t, f);
	return 0;
}

static int take_guesses(struct fault_thread *t, struct wire_frame *f, struct errtext *err)
{
	bool more;
	int ret;

	do {
		more = f->flags & WIRE_FRAME_MORE;
		ret = receive_content(t, f, err);
		if (ret == 0)
			ret = placer_frame(t->h->opt.placer, f, PLACER_PREFETCH, t->bounce, err);
		if (ret < 0)
			unclaim(t, f->block);
		else if (more)
			ret = expect_guesses(t, f, err);
	} while (ret == 0 && more);
	return ret;
}

/* ---- one fault ---- */

static int ask(struct fault_thread *t, const struct wire_page_request *r, struct errtext *err)
{
	uint64_t began = clock_monotonic_us();
	struct wire_frame reply, guesses;
	bool more = false;
	int ret;

	if (atomic_bitmap_set(&t->h->requested[r->block], r->first / r->count, 1) == 0)
		return 0;
	ret = send_request(t, r, err);
	if (ret == 0)
		ret = receive_reply(t, r, &reply, err);
	if (ret == 0) {
		more = reply.flags & WIRE_FRAME_MORE;
		ret = more ? expect_guesses(t, &guesses, err) : 0;
	}
	if (ret == 0) {
		ret = placer_frame(t->h->opt.placer, &reply, PLACER_FAULT, t->bounce, err);
		if (ret < 0 && more)
			unclaim(t, guesses.block);
	}
	if (ret < 0) {
		give_back(t, r->block, r->first / r->count);
		return ret;
	}
	histogram_add(&t->h->latency, clock_monotonic_us() - began);
	return more ? take_guesses(t, &guesses, err) : 0;
}

/* ---- taking faults ---- */

static int find_block(const struct ram_map *ram, uint64_t addr, unsigned int *block)
{
	for (*block = 0; *block < ram->count; (*block)++) {
		const struct ram_block *b = &ram->blocks[*block];

		if (addr >= b->qemu_addr && addr - b->qemu_addr < b->size)
			return 0;
	}
	return -EFAULT;
}

static int serve_fault(struct fault_thread *t, const struct uffd_msg *msg, struct errtext *err)
{
	const struct fault_handler_options *opt = &t->h->opt;
	uint64_t addr = msg->arg.pagefault.address;
	struct wire_page_request r = {.thread = msg->arg.pagefault.feat.ptid};
	unsigned int block;
	uint64_t page;

	atomic_fetch_add_explicit(&t->h->faults, 1, memory_order_relaxed);
	if (find_block(opt->ram, addr, &block) < 0)
		return errtext_set(err, -EFAULT,
				   "QEMU faulted at 0x%llx, which is in no RAM block of its",
				   (unsigned long long)addr);
	page = (addr - opt->ram->blocks[block].qemu_addr) >> RAM_PAGE_SHIFT;
	if (!owed_test(opt->owed, block, page))
		return placer_hole(opt->placer, block, page, err);
	r.block = (uint16_t)block;
	r.count = owed_unit(opt->owed, block);
	r.first = page / r.count * r.count;
	return ask(t, &r, err);
}

static int take_fault(struct fault_thread *t, struct errtext *err)
{
	struct uffd_msg msg;
	ssize_t n = read(t->h->opt.uffd, &msg, sizeof(msg));

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) /* another thread was faster */
		return 0;
	if (n != (ssize_t)sizeof(msg))
		return errtext_set(err, n < 0 ? -errno : -EIO, "cannot read QEMU's faults: %s",
				   n < 0 ? strerror(errno) : "end of file");
	return msg.event == UFFD_EVENT_PAGEFAULT ? serve_fault(t, &msg, err) : 0;
}

/* 1: stopped. 0: there may be a fault to take. */
static int await_fault(const struct fault_thread *t)
{
	struct epoll_event events[2];
	int n = epoll_wait(t->epoll, events, 2, -1);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		if (events[i].data.fd == t->h->stop)
			return 1;
	return 0;
}

static int prepare(struct fault_thread *t)
{
	struct epoll_event fault = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	struct epoll_event stop = {.events = EPOLLIN};

	fault.data.fd = t->h->opt.uffd;
	stop.data.fd = t->h->stop;
	t->bounce = malloc(t->h->content_max);
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!t->bounce || frame_reader_new(t->h->opt.ram, t->stream, &t->reader) < 0)
		return -ENOMEM;
	if (t->epoll < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, fault.data.fd, &fault) < 0 ||
	    epoll_ctl(t->epoll, EPOLL_CTL_ADD, stop.data.fd, &stop) < 0)
		return -errno;
	return 0;
}

int fault_handler_serve(struct fault_handler *h, unsigned int index, struct byte_stream *stream,
			struct errtext *err)
{
	struct fault_thread t = {.h = h, .index = index, .stream = stream, .epoll = -1};
	int ret = prepare(&t);

	while (ret == 0) {
		ret = await_fault(&t);
		if (ret == 0)
			ret = take_fault(&t, err);
	}
	cleanup_close(&t.epoll);
	free(t.bounce);
	frame_reader_destroy(t.reader);
	return ret < 0 ? errtext_set(err, ret, "fault connection %u cannot be served: %s", index,
				     strerror(-ret))
		       : 0;
}

void fault_handler_stats(const struct fault_handler *h, struct fault_handler_stats *stats)
{
	stats->faults = atomic_load_explicit(&h->faults, memory_order_relaxed);
	stats->p50_us = histogram_percentile(&h->latency, 500);
	stats->p99_us = histogram_percentile(&h->latency, 990);
	stats->max_us = histogram_max(&h->latency);
}

void fault_handler_latency(const struct fault_handler *h, struct histogram *to)
{
	histogram_merge(to, &h->latency);
}
