// SPDX-License-Identifier: Apache-2.0
// Guest RAM that was handed over, and is kept for post-copy: nobody may change it any more.
//
// The sealed mapping is registered with a userfaultfd for missing pages, with SIGBUS in place of
// messages. The kernel registers only what could be written, so the file is opened anew for that.
// Threads that touch a page that is just being punched wait in the kernel until it is gone, so what
// is seen afterwards (ram_kept_check) includes it.
#include "ram_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "cleanup.h"
#include "hole.h"
#include "kernel_abi.h"
#include "ram_access.h"
#include "ram_private.h"
#include "zero.h"

static int blocks_of(const struct ram_block *b, uint64_t *blocks, struct errtext *err)
{
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return errtext_set(err, -errno, "RAM block %s: %s", b->name, strerror(errno));
	*blocks = (uint64_t)st.st_blocks;
	return 0;
}

/* ---- a page with content ---- */

#define STOPPED_PAGES (1ull << 16) /* that are looked at while the guest stands still */

struct search {
	const struct ram_block *block;
	struct hole_window window;
	uint64_t first, end; /* pages of the window */
	uint64_t found;	     /* the first with content, or `end` */
	uint64_t looked;     /* pages with memory */
};

static void search_window(void *arg)
{
	struct search *s = arg;

	for (s->found = s->first; s->found < s->end; s->found++) {
		if (hole_at(&s->window, s->found))
			continue;
		s->looked++;
		if (!zero_page(s->block->map + (s->found << RAM_PAGE_SHIFT)))
			return;
	}
}

/* Of at most so many pages that have memory. */
static int choose(struct ram_block *b, uint64_t most, struct errtext *err)
{
	struct search s = {.block = b};
	uint64_t end = b->size >> RAM_PAGE_SHIFT;

	b->sentinel = 0;
	while (s.looked < most) {
		int ret;

		s.first = hole_next_data(b, s.end, end);
		if (s.first >= end)
			break;
		s.end = end - s.first < HOLE_WINDOW_PAGES ? end : s.first + HOLE_WINDOW_PAGES;
		ret = hole_look(&s.window, b, s.first, s.end, err);
		if (ret == 0)
			ret = ram_access(b, search_window, &s, err);
		if (ret < 0)
			return ret;
		if (s.found < s.end) {
			b->sentinel = s.found + 1;
			break;
		}
	}
	return 0;
}

/* Huge pages are never dropped, nor are QEMU's own. */
int ram_kept_choose(struct ram_map *ram, struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < ram->count && ret == 0; i++) {
		struct ram_block *b = &ram->blocks[i];

		if (b->page_size == RAM_PAGE_SIZE && !ram_block_is_private(b))
			ret = choose(b, UINT64_MAX, err);
	}
	return ret;
}

static bool has_sentinel(const struct ram_block *b)
{
	uint64_t page = b->sentinel - 1;

	return b->sentinel && hole_next_data(b, page, page + 1) == page;
}

/* ---- the number of blocks ---- */

int ram_kept_note(struct ram_map *ram, struct errtext *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < ram->count && ret == 0; i++) {
		struct ram_block *b = &ram->blocks[i];

		if (ram_block_is_private(b))
			continue;
		/* The guest may have given it back meanwhile, as by a balloon. */
		if (b->sentinel && !has_sentinel(b))
			ret = choose(b, STOPPED_PAGES, err);
		if (ret == 0)
			ret = blocks_of(b, &b->kept, err);
	}
	return ret;
}

/* ---- private memory ---- */

/* Two seconds in all. */
#define READ_TIMES 20
#define READ_PAUSE_NS 100000000l
#define LOOK_TIMES 3
#define LOOK_PAUSE_NS 10000000l

static int gone(const struct ram_block *b, struct errtext *err)
{
	return errtext_set(err, -EUCLEAN,
			   "RAM block %s: QEMU on the source, process %d, which alone had this "
			   "memory, was ended before all of it had gone",
			   b->name, b->private_to);
}

/* A page of broken memory stays so; one that is to come back from swap may find memory again. */
static int read_patiently(const struct ram_block *b, uint64_t first, uint64_t count, uint8_t *out,
			  struct errtext *err)
{
	const struct timespec pause = {.tv_nsec = READ_PAUSE_NS};
	int ret = ram_private_read_range(b, first, count, out, err);

	for (int i = 0; ret == -EFAULT && i < READ_TIMES && !ram_private_has_ended(b); i++) {
		nanosleep(&pause, NULL);
		*err = (struct errtext){0};
		ret = ram_private_read_range(b, first, count, out, err);
	}
	return ret;
}

int ram_kept_read(const struct ram_block *b, uint64_t first, uint64_t count, uint8_t *out,
		  struct errtext *err)
{
	struct errtext why = {0};
	int ret = read_patiently(b, first, count, out, &why);

	/* Its memory goes a moment before it does. */
	if (ret == -ESRCH || ram_private_has_ended(b))
		return gone(b, err);
	if (ret < 0)
		errtext_set(err, 0, "%s", why.text);
	return ret == -EFAULT ? -EUCLEAN : ret;
}

/* To read a huge page that is not there would give it memory, which may not be had. If it cannot be
 * told, to read it will tell. One that the kernel moves just now looks like that if it is
 * protected, so it is looked at again; few of those that are not there are ever owed. */
static bool is_private_hole(const struct ram_block *b, uint64_t first)
{
	const struct timespec pause = {.tv_nsec = LOOK_PAUSE_NS};
	bool has;

	for (int i = 0; b->page_size > RAM_PAGE_SIZE; i++) {
		if (ram_private_has(b, first, 1, &has) < 0 || has)
			return false;
		if (i == LOOK_TIMES)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* Most pages show by their first bytes that they are not zero. */
static int look_for_private_zero(const struct ram_block *b, uint64_t first, uint64_t count,
				 bool *zero, struct errtext *err)
{
	uint8_t page[RAM_PAGE_SIZE] __attribute__((aligned(8)));
	int ret = 0;

	*zero = true;
	if (is_private_hole(b, first)) /* of QEMU's, if that has not ended meanwhile */
		return ram_kept_check(b, err);
	for (uint64_t i = 0; i < count && *zero && ret == 0; i++) {
		ret = ram_kept_read(b, first + i, 1, page, err);
		*zero = ret == 0 && zero_page(page);
	}
	return ret;
}

int ram_kept_check(const struct ram_block *b, struct errtext *err)
{
	uint64_t now = 0;
	int ret;

	if (ram_block_is_private(b))
		return ram_private_has_ended(b) ? gone(b, err) : 0;
	ret = b->kept ? blocks_of(b, &now, err) : 0;
	if (ret < 0 || !b->kept || now >= b->kept || has_sentinel(b))
		return ret;
	return errtext_set(err, -EUCLEAN,
			   "RAM block %s: its file was emptied on the source after the guest had "
			   "left: %" PRIu64 " of %" PRIu64 " KiB of its memory are gone",
			   b->name, (b->kept - now) / 2, b->kept / 2);
}

/* ---- pages ---- */

struct look {
	const struct ram_block *block;
	uint64_t first, count;
	struct hole_window window;
	volatile uint64_t at; /* the page that is being read */
	bool zero;
};

static void look_for_zero(void *arg)
{
	struct look *l = arg;

	l->zero = true;
	for (uint64_t page = l->first; page < l->first + l->count && l->zero; page++) {
		l->at = page;
		l->zero = hole_at(&l->window, page) ||
			  zero_page(l->block->map + (page << RAM_PAGE_SHIFT));
	}
}

static void load_each(void *arg)
{
	struct look *l = arg;

	for (uint64_t page = l->first; page < l->first + l->count; page++) {
		l->at = page;
		if (!hole_at(&l->window, page))
			(void)*(const volatile uint8_t *)(l->block->map + (page << RAM_PAGE_SHIFT));
	}
}

/* The sealed mapping needs no memory, so what fails by SIGBUS will fail again. */
static int unreadable(const struct look *l, int why, struct errtext *err)
{
	int ret = ram_kept_check(l->block, err);

	return ret < 0 ? ret
		       : errtext_set(err, -EUCLEAN,
				     "RAM block %s: page %" PRIu64
				     " cannot be read on the source any more: %s",
				     l->block->name, l->at,
				     why == -EHWPOISON ? "it lies in broken memory"
						       : "the kernel cannot bring it back");
}

static int run_look(struct look *l, void (*touch)(void *arg), struct errtext *err)
{
	int ret = hole_look(&l->window, l->block, l->first, l->first + l->count, err);

	if (ret < 0)
		return ret;
	ret = ram_access(l->block, touch, l, NULL);
	return ret < 0 ? unreadable(l, ret, err) : 0;
}

int ram_kept_zero(const struct ram_block *b, uint64_t first, uint64_t count, bool *zero,
		  struct errtext *err)
{
	struct look look = {.block = b, .first = first, .count = count};
	int ret;

	if (ram_block_is_private(b))
		return look_for_private_zero(b, first, count, zero, err);
	ret = run_look(&look, look_for_zero, err);
	*zero = look.zero;
	return ret == 0 && look.zero ? ram_kept_check(b, err) : ret;
}

/* The kernel's word for a page that it could not read. */
int ram_kept_explain(const struct ram_block *b, uint64_t first, uint64_t count, int why,
		     struct errtext *err)
{
	struct look look = {.block = b, .first = first, .count = count};
	struct errtext text = {0};

	if (why != -EFAULT || ram_block_is_private(b) ||
	    run_look(&look, load_each, &text) != -EUCLEAN)
		return why;
	*err = text;
	return -EUCLEAN;
}

/* ---- the mapping ---- */

static int map_again(const struct ram_block *b)
{
	_cleanup_close_ int fd = -1;
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || mmap(b->map, b->size, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
			   0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int seal_block(int uffd, const struct ram_block *b)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)b->map, .len = b->size},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	int ret = map_again(b);

	if (ret < 0)
		return ret;
	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

int ram_kept_seal(const struct ram_map *ram, int *fd, struct errtext *err)
{
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM |
					     UFFD_FEATURE_MISSING_HUGETLBFS};
	_cleanup_close_ int uffd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0)
		return errtext_set(err, -errno, "no userfaultfd to seal guest RAM: %s",
				   strerror(errno));
	for (unsigned int i = 0; i < ram->count; i++) {
		const struct ram_block *b = &ram->blocks[i];
		int ret = ram_block_is_private(b) ? 0 : seal_block(uffd, b);

		if (ret < 0)
			return errtext_set(err, ret, "RAM block %s: cannot be sealed: %s", b->name,
					   strerror(-ret));
	}
	*fd = steal_fd(&uffd);
	return 0;
}
