// SPDX-License-Identifier: Apache-2.0
// Digests of guest RAM: equal for equal content, and only then.
#include "digest.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "guest_ram.h"

#define PIECE_PAGES 512u

TestSuite(digest, .timeout = 30);

static struct wire_digest digest_of(const struct ram_map *ram, unsigned int threads)
{
	atomic_bool never = false;
	struct errtext err = {0};
	struct wire_digest d;

	cr_assert_eq(digest_ram(ram, threads, &never, &d, &err), 0, "%s", err.text);
	cr_assert_eq(d.count, ram->count);
	return d;
}

static bool is_equal(const struct wire_digest *a, const struct wire_digest *b, unsigned int block)
{
	return memcmp(a->digest[block], b->digest[block], sizeof(a->digest[block])) == 0;
}

/* Pieces that are full, mixed, zero but allocated in `dense`, and never touched. */
static void fill(const struct ram_block *b, bool dense)
{
	for (uint64_t i = 0; i < PIECE_PAGES; i++)
		guest_write(b, i, i + 1);
	if (ram_block_pages(b) > PIECE_PAGES + 3)
		guest_write(b, PIECE_PAGES + 3, 4711);
	guest_write(b, ram_block_pages(b) - 1, 4712);
	if (!dense)
		return;
	for (uint64_t i = 0; i < ram_block_pages(b); i++) {
		volatile uint8_t *byte = guest_page(b, i);

		*byte = *byte;
	}
}

struct shape {
	uint64_t pages;
	unsigned int threads;
};

static struct shape shapes[] = {{513, 1},  {1024, 1}, {1027, 1}, {1027, 3},
				{2048, 2}, {5119, 4}, {4096, 9}};

ParameterizedTestParameters(digest, holes_make_no_difference_and_stay)
{
	return cr_make_param_array(struct shape, shapes, sizeof(shapes) / sizeof(shapes[0]));
}

ParameterizedTest(struct shape *shape, digest, holes_make_no_difference_and_stay)
{
	struct ram_map sparse = {0}, dense = {0};
	struct wire_digest a, b;
	uint64_t before;

	guest_ram_add(&sparse, "ram", shape->pages << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_ram_add(&dense, "ram", shape->pages << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	fill(&sparse.blocks[0], false);
	fill(&dense.blocks[0], true);
	before = guest_allocated(&sparse.blocks[0]);
	cr_assert_leq(before, PIECE_PAGES + 2);
	cr_assert_eq(guest_allocated(&dense.blocks[0]), shape->pages);
	a = digest_of(&sparse, shape->threads);
	b = digest_of(&dense, 1);
	cr_assert(is_equal(&a, &b, 0));
	cr_assert_eq(guest_allocated(&sparse.blocks[0]), before);
	guest_ram_destroy(&sparse);
	guest_ram_destroy(&dense);
}

static struct shape flips[] = {{0, 0}, {511, 0}, {515, 0}, {700, 0}, {1536, 0}, {1538, 0}};

ParameterizedTestParameters(digest, one_bit_makes_a_difference)
{
	return cr_make_param_array(struct shape, flips, sizeof(flips) / sizeof(flips[0]));
}

/* In pieces with data, in a hole, and in the last, short piece. */
ParameterizedTest(struct shape *flip, digest, one_bit_makes_a_difference)
{
	struct ram_map ram = {0};
	struct wire_digest a, b;

	guest_ram_add(&ram, "ram", 1539 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	fill(&ram.blocks[0], false);
	a = digest_of(&ram, 2);
	guest_page(&ram.blocks[0], flip->pages)[4095] ^= 0x80;
	b = digest_of(&ram, 2);
	cr_assert_not(is_equal(&a, &b, 0));
	guest_page(&ram.blocks[0], flip->pages)[4095] ^= 0x80;
	b = digest_of(&ram, 2);
	cr_assert(is_equal(&a, &b, 0));
	guest_ram_destroy(&ram);
}

Test(digest, order_of_pieces_matters)
{
	struct ram_map ram = {0};
	struct wire_digest a, b;

	guest_ram_add(&ram, "ram", 2 * PIECE_PAGES << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_write(&ram.blocks[0], 0, 1);
	a = digest_of(&ram, 1);
	guest_punch(&ram.blocks[0], 0, 1);
	guest_write(&ram.blocks[0], PIECE_PAGES, 1);
	b = digest_of(&ram, 1);
	cr_assert_not(is_equal(&a, &b, 0));
	guest_ram_destroy(&ram);
}

Test(digest, each_block_has_its_own)
{
	struct ram_map ram = {0};
	struct wire_digest a, b;

	guest_ram_add(&ram, "a", 1027 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_ram_add(&ram, "b", 1027 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_ram_add(&ram, "c", 1028 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	a = digest_of(&ram, 2);
	cr_assert_arr_eq(a.digest[0], a.digest[1], 16, "both empty");
	cr_assert_arr_neq(a.digest[0], a.digest[2], 16, "empty, but longer");
	guest_write(&ram.blocks[1], 1026, 1);
	b = digest_of(&ram, 2);
	cr_assert(is_equal(&a, &b, 0));
	cr_assert_not(is_equal(&a, &b, 1));
	cr_assert(is_equal(&a, &b, 2));
	guest_ram_destroy(&ram);
}

Test(digest, huge_pages_have_the_same_digest)
{
	struct ram_map huge = {0}, small = {0};
	struct wire_digest a, b;

	guest_ram_add(&huge, "ram", 2 * GUEST_HUGE_SIZE, GUEST_HUGE_SIZE);
	guest_ram_add(&small, "ram", 2 * GUEST_HUGE_SIZE, RAM_PAGE_SIZE);
	guest_write(&huge.blocks[0], 700, 1);
	guest_write(&small.blocks[0], 700, 1);
	a = digest_of(&huge, 1);
	b = digest_of(&small, 1);
	cr_assert(is_equal(&a, &b, 0));
	guest_ram_destroy(&huge);
	guest_ram_destroy(&small);
}

Test(digest, can_be_cancelled)
{
	atomic_bool cancel = true;
	struct errtext err = {0};
	struct ram_map ram = {0};
	struct wire_digest d;

	guest_ram_add(&ram, "pc.ram", 64u << 20, RAM_PAGE_SIZE);
	for (unsigned int threads = 1; threads <= 3; threads += 2) {
		cr_assert_eq(digest_ram(&ram, threads, &cancel, &d, &err), -ECANCELED);
		cr_assert(strstr(err.text, "pc.ram"), "%s", err.text);
	}
	guest_ram_destroy(&ram);
}

Test(digest, a_file_that_became_shorter_is_an_error)
{
	atomic_bool never = false;
	struct errtext err = {0};
	struct ram_map ram = {0};
	struct wire_digest d;

	guest_ram_add(&ram, "pc.ram", 1027 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_write(&ram.blocks[0], 0, 1);
	cr_assert_eq(ftruncate(ram.blocks[0].fd, 1026 << RAM_PAGE_SHIFT), 0);
	cr_assert_eq(digest_ram(&ram, 1, &never, &d, &err), -EIO);
	guest_ram_destroy(&ram);
}

Test(digest, private_memory_has_the_digest_of_its_content)
{
	struct ram_map shared = {0}, private = {0};
	struct wire_digest a, b;

	guest_ram_add(&shared, "pc.ram", 1027 << RAM_PAGE_SHIFT, RAM_PAGE_SIZE);
	guest_ram_add_private(&private, "pc.ram", 1027 << RAM_PAGE_SHIFT);
	fill(&shared.blocks[0], false);
	fill(&private.blocks[0], false);
	a = digest_of(&shared, 2);
	b = digest_of(&private, 2);
	cr_assert(is_equal(&a, &b, 0));
	guest_page(&private.blocks[0], 1000)[4095] = 1;
	b = digest_of(&private, 2);
	cr_assert_not(is_equal(&a, &b, 0));
	guest_ram_destroy(&shared);
	guest_ram_destroy(&private);
}
