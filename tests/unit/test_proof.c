// SPDX-License-Identifier: Apache-2.0
// What is proven of memory that came in every way there is, with a guest that writes some of it.
#include "proof.h"

#include <errno.h>
#include "postcopy.h"
#include "ram_kept.h"
#include "ram_private.h"

#define PAGES 10240u /* more than one piece */
#define EARLY 4096u  /* came before the guest ran; the next EARLY are fetched */

TestSuite(proof, .timeout = 30);

struct fixture {
	struct ram_map from, to;
	struct ram_block *b; /* the destination's */
	int uffd;
	struct tracker *tracker;
};

/* The last 2048 pages are zero, as holes where that is possible. */
static void setup(struct fixture *f, uint32_t page_size)
{
	struct errtext err = {0};

	*f = (struct fixture){.uffd = postcopy_userfaultfd(MISSING_TRACKED_FEATURES)};
	guest_ram_add(&f->from, "pc.ram", PAGES * RAM_PAGE_SIZE, page_size);
	guest_ram_add(&f->to, "pc.ram", PAGES * RAM_PAGE_SIZE, page_size);
	f->b = &f->to.blocks[0];
	for (uint64_t page = 0; page < 2 * EARLY; page++)
		guest_write(&f->from.blocks[0], page, page + 1);
	memcpy(f->b->map, f->from.blocks[0].map, 2 * EARLY * RAM_PAGE_SIZE);
	cr_assert_eq(missing_register(f->uffd, &f->to, true, &err), 0, "%s", err.text);
	cr_assert_eq(missing_make(f->b, EARLY, EARLY, &err), 0, "%s", err.text);
	cr_assert_eq(tracker_new(dup(f->uffd), getpid(), &f->to, &f->tracker, &err), 0, "%s",
		     err.text);
}

static void teardown(struct fixture *f)
{
	struct errtext err = {0};

	tracker_destroy(f->tracker);
	cr_assert_eq(missing_unregister(f->uffd, &f->to, &err), 0, "%s", err.text);
	close(f->uffd);
	guest_ram_destroy(&f->from);
	guest_ram_destroy(&f->to);
}

static void fetch(struct fixture *f)
{
	struct errtext err = {0};

	cr_assert_eq(missing_copy(f->uffd, f->b, EARLY, EARLY,
				  f->from.blocks[0].map + EARLY * RAM_PAGE_SIZE, true, &err),
		     0, "%s", err.text);
}

static void prove(struct fixture *f, struct proof_result *result)
{
	struct proof *theirs, *ours;
	struct errtext err = {0};
	struct wire_proof piece;
	unsigned int pieces = 0;
	int ret;

	cr_assert_eq(proof_new(&f->to, f->tracker, &theirs, &err), 0);
	cr_assert_eq(proof_new(&f->from, NULL, &ours, &err), 0);
	for (; (ret = proof_next(theirs, &piece, &err)) > 0; pieces++)
		cr_assert_eq(proof_compare(ours, &piece, &err), 0, "%s", err.text);
	cr_assert_eq(ret, 0, "%s", err.text);
	cr_assert_eq(pieces, (PAGES + WIRE_PROOF_PAGES_MAX - 1) / WIRE_PROOF_PAGES_MAX);
	proof_result(ours, result);
	cr_assert(result->complete);
	cr_assert_eq(result->equal + result->written + result->given_back + result->unequal, PAGES);
	proof_destroy(theirs);
	proof_destroy(ours);
}

Test(proof, nothing_written_all_equal)
{
	struct proof_result r;
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	prove(&f, &r);
	cr_assert_eq(r.equal, PAGES);
	cr_assert_eq(guest_allocated(f.b), 2 * EARLY, "holes stay holes");
	/* To read is not to write. */
	for (uint64_t page = 0; page < 2 * EARLY; page += 3)
		cr_assert_eq(memcmp(guest_page(f.b, page), guest_page(&f.from.blocks[0], page),
				    RAM_PAGE_SIZE),
			     0);
	prove(&f, &r);
	cr_assert_eq(r.equal, PAGES);
	teardown(&f);
}

/* A system call's write counts as well, and one of the same content. */
Test(proof, written_pages_are_left_out)
{
	struct errtext err = {0};
	struct proof_result r;
	struct fixture f;
	int fds[2];

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	guest_write(f.b, 7, 7777);
	guest_write(f.b, EARLY + 9, 9999);
	guest_write(f.b, 11, 12);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	cr_assert_eq(read(fds[0], guest_page(f.b, EARLY + 500), 1), 1);
	cr_assert_eq(
		missing_copy(f.uffd, f.b, 9000, 1, f.b->map + 9001 * RAM_PAGE_SIZE, true, &err), 0,
		"%s", err.text);
	guest_write(f.b, 9000, 1);
	prove(&f, &r);
	cr_assert_eq(r.written, 5);
	cr_assert_eq(r.equal, PAGES - 5);
	close(fds[0]);
	close(fds[1]);
	teardown(&f);
}

static void expect_unequal(struct fixture *f, uint64_t page)
{
	struct proof_result r;

	f->from.blocks[0].map[page * RAM_PAGE_SIZE + 4095] ^= 1;
	prove(f, &r);
	cr_assert_eq(r.unequal, 1);
	cr_assert_eq(r.first_unequal.page, page);
	f->from.blocks[0].map[page * RAM_PAGE_SIZE + 4095] ^= 1;
}

Test(proof, one_bit_shows)
{
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	expect_unequal(&f, 0);
	expect_unequal(&f, EARLY + 1);
	expect_unequal(&f, 2 * EARLY - 1);
	teardown(&f);
}

/* A balloon, or free page reporting, makes holes of pages, which are not written thereby; and they
 * may be read again. */
Test(proof, what_was_given_back_is_no_damage)
{
	struct proof_result r;
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	guest_punch(f.b, 10, 20);
	guest_punch(f.b, EARLY + 10, 30);
	guest_punch(&f.from.blocks[0], 100, 5);
	prove(&f, &r);
	cr_assert_eq(r.unequal, 0);
	cr_assert_eq(r.given_back, 55);
	cr_assert_eq(r.equal, PAGES - 55);
	teardown(&f);
}

/* A guest without a balloon has no such pages: they were lost. */
Test(proof, who_gives_nothing_back_has_no_zeroes_in_the_place_of_content)
{
	struct proof_result r;
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	prove(&f, &r);
	cr_assert_eq(r.equal, PAGES);
	guest_punch(f.b, 10, 20);
	guest_punch(&f.from.blocks[0], 100, 5);
	prove(&f, &r);
	proof_deny_giving_back(&r);
	cr_assert_eq(r.given_back, 0);
	cr_assert_eq(r.unequal, 25);
	cr_assert_eq(r.first_unequal.page, 10);
	teardown(&f);
}

/* Neither for damage nor for its absence. */
Test(proof, what_was_emptied_here_proves_nothing)
{
	struct errtext err = {0};
	struct wire_proof piece;
	struct proof_result r;
	struct proof *theirs, *ours;
	struct fixture f;

	setup(&f, RAM_PAGE_SIZE);
	fetch(&f);
	cr_assert_eq(ram_kept_note(&f.from, NULL), 0);
	guest_punch(&f.from.blocks[0], 0, 2 * EARLY);
	cr_assert_eq(proof_new(&f.to, f.tracker, &theirs, &err), 0);
	cr_assert_eq(proof_new(&f.from, NULL, &ours, &err), 0);
	while (proof_next(theirs, &piece, &err) > 0)
		cr_assert_eq(proof_compare(ours, &piece, &err), 0, "%s", err.text);
	proof_result(ours, &r);
	cr_assert_not(r.complete);
	cr_assert_eq(r.unequal, 0);
	proof_destroy(theirs);
	proof_destroy(ours);
	teardown(&f);
}

Test(proof, huge_pages)
{
	struct proof_result r;
	struct fixture f;

	setup(&f, GUEST_HUGE_SIZE);
	fetch(&f);
	prove(&f, &r);
	cr_assert_leq(r.written, PAGES - 2 * EARLY, "what was never there may count as written");
	guest_write(f.b, EARLY + 513, 1);
	prove(&f, &r);
	cr_assert_geq(r.written, 512);
	cr_assert_eq(r.unequal, 0);
	expect_unequal(&f, 3);
	teardown(&f);
}

/* Twice the same, none, or another block's would make a whole of less. */
Test(proof, only_the_next_piece_will_do)
{
	struct wire_proof piece = {.count = 1024};
	struct proof_result r;
	struct ram_map ram = {0};
	struct proof *p;

	guest_ram_add(&ram, "a", 1024 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	guest_ram_add(&ram, "b", 16 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	cr_assert_eq(proof_new(&ram, NULL, &p, NULL), 0);
	piece.block = 2;
	cr_assert_eq(proof_compare(p, &piece, NULL), -EPROTO);
	piece.block = 1;
	cr_assert_eq(proof_compare(p, &piece, NULL), -EPROTO);
	piece.block = 0;
	piece.count = 1023;
	cr_assert_eq(proof_compare(p, &piece, NULL), -EPROTO);
	piece.count = 1024;
	cr_assert_eq(proof_compare(p, &piece, NULL), 0);
	cr_assert_eq(proof_compare(p, &piece, NULL), -EPROTO);
	proof_result(p, &r);
	cr_assert_not(r.complete);
	piece = (struct wire_proof){.block = 1, .count = 16};
	cr_assert_eq(proof_compare(p, &piece, NULL), 0);
	proof_result(p, &r);
	cr_assert(r.complete);
	cr_assert_eq(proof_compare(p, &piece, NULL), -EPROTO);
	proof_destroy(p);
	guest_ram_destroy(&ram);
}

/* ---- memory that is private to QEMU, on both sides ---- */

static void setup_private(struct fixture *f)
{
	struct errtext err = {0};

	*f = (struct fixture){.uffd = postcopy_userfaultfd(MISSING_TRACKED_FEATURES)};
	guest_ram_add_private(&f->from, "pc.ram", PAGES * RAM_PAGE_SIZE);
	guest_ram_add_private(&f->to, "pc.ram", PAGES * RAM_PAGE_SIZE);
	f->b = &f->to.blocks[0];
	madvise(guest_page(f->b, 0), f->b->size, MADV_NOHUGEPAGE);
	for (uint64_t page = 0; page < 2 * EARLY; page++)
		guest_write(&f->from.blocks[0], page, page + 1);
	memcpy(guest_page(f->b, 0), guest_page(&f->from.blocks[0], 0), 2 * EARLY * RAM_PAGE_SIZE);
	cr_assert_eq(missing_register(f->uffd, &f->to, true, &err), 0, "%s", err.text);
	cr_assert_eq(madvise(guest_page(f->b, EARLY), EARLY * RAM_PAGE_SIZE, MADV_DONTNEED), 0);
	cr_assert_eq(missing_protect(f->uffd, (uintptr_t)guest_page(f->b, EARLY),
				     EARLY * RAM_PAGE_SIZE, &err),
		     0, "%s", err.text);
	cr_assert_eq(tracker_new(dup(f->uffd), getpid(), &f->to, &f->tracker, &err), 0, "%s",
		     err.text);
	cr_assert_eq(missing_copy(f->uffd, f->b, EARLY, EARLY,
				  guest_page(&f->from.blocks[0], EARLY), true, &err),
		     0, "%s", err.text);
}

/* Nobody serves faults here: to read a missing page would hang. */
Test(proof, private_memory)
{
	bool has[PAGES - 2 * EARLY];
	struct errtext err = {0};
	struct proof_result r;
	struct fixture f;

	setup_private(&f);
	prove(&f, &r);
	cr_assert_eq(r.equal, PAGES);
	cr_assert_eq(ram_private_has(f.b, 2 * EARLY, PAGES - 2 * EARLY, has), 0);
	cr_assert_eq(memchr(has, true, sizeof(has)), NULL, "what is zero got no memory");
	guest_write(f.b, 7, 7777);
	guest_write(f.b, EARLY + 9, 9999);
	cr_assert_eq(
		missing_copy(f.uffd, f.b, 9000, 1, guest_page(&f.from.blocks[0], 1), true, &err), 0,
		"%s", err.text);
	prove(&f, &r);
	cr_assert_eq(r.written, 2);
	cr_assert_eq(r.equal, PAGES - 3);
	cr_assert_eq(r.given_back, 1);
	guest_page(&f.from.blocks[0], EARLY + 1)[4095] ^= 1;
	prove(&f, &r);
	cr_assert_eq(r.unequal, 1);
	cr_assert_eq(r.first_unequal.page, EARLY + 1);
	teardown(&f);
}
