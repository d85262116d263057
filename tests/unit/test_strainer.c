// SPDX-License-Identifier: Apache-2.0
// The strainer on streams that the test writes: what it keeps, wherever they are cut;
// test_strainer_recorded.c has QEMU's own.
#include "strainer.h"

#include <errno.h>
#include <criterion/criterion.h>
#include "qemu_stream.h"

TestSuite(strainer, .timeout = 60);

/* A whole one; and what is to be left of it. */
static void put_whole(struct qemu_stream *in, struct qemu_stream *out)
{
	put_setup(in);
	put_setup(out);

	put_section(in, 2);
	put_section(out, 2);
	put_page(in, "pc.ram", 0);
	put_zero(in, NULL, PAGE, 0);
	put_page(in, "vga", PAGE);
	put_page(out, "vga", PAGE);
	put_zero(in, NULL, 0, 0);
	put_zero(out, "vga", 0, 0);
	put_be64(in, ITEM_MULTIFD_FLUSH);
	put_be64(out, ITEM_MULTIFD_FLUSH);
	put_zero(in, "/objects/ram-node0", PAGE, 7);
	put_section_end(in);
	put_section_end(out);

	/* A section that continues a block of the one before. */
	put_section(in, 2);
	put_section(out, 2);
	put_page(in, NULL, 0);
	put_zero(in, "vga", 0, 9);
	put_zero(out, "vga", 0, 9);
	put_section_end(in);
	put_section_end(out);

	put_command(in, 11, NULL, 0);
	put_command(out, 11, NULL, 0);
	put_section(in, 3);
	put_section(out, 3);
	put_page(in, NULL, PAGE);
	put_page(out, "vga", PAGE);
	put_page(in, "pc.ram", 3 * PAGE);
	put_section_end(in);
	put_section_end(out);
	put_device_state(in);
	put_device_state(out);
}

static void expect_kept(const struct qemu_stream *kept, const struct qemu_stream *want, size_t n)
{
	cr_assert_eq(kept->n, n, "%zu of %zu bytes", kept->n, n);
	cr_assert_eq(memcmp(kept->bytes, want->bytes, n), 0);
}

Test(strainer, drops_pages_and_keeps_all_else)
{
	_cleanup_stream_ struct qemu_stream in = {0}, want = {0}, kept = {0};
	struct ram_map drop = dropped_blocks();
	struct strainer *s = strainer_for(&drop);
	struct strainer_stats stats;
	struct errtext err = {0};

	put_whole(&in, &want);
	cr_assert_not(strainer_is_past_ram(s));
	cr_assert_eq(strainer_strain(s, in.bytes, in.n, qemu_stream_keep, &kept, &err), 0, "%s",
		     err.text);
	expect_kept(&kept, &want, want.n);
	strainer_stats(s, &stats);
	cr_assert_eq(stats.data_pages, 3);
	cr_assert_eq(stats.zero_pages, 2);
	cr_assert_eq(stats.read_bytes, in.n);
	cr_assert_eq(stats.kept_bytes, want.n);
	cr_assert(stats.past_ram && strainer_is_past_ram(s));
	strainer_destroy(s);
	ram_map_destroy(&drop);
}

Test(strainer, a_cut_anywhere_changes_nothing)
{
	_cleanup_stream_ struct qemu_stream in = {0}, want = {0}, kept = {0};
	struct ram_map drop = dropped_blocks();
	struct errtext err = {0};

	put_whole(&in, &want);
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct strainer *s = strainer_for(&drop);

		kept.n = 0;
		cr_assert_eq(strain_piece(s, in.bytes, cut, &kept, &err), 0, "%s", err.text);
		cr_assert(kept.n == 0 || memcmp(kept.bytes, want.bytes, kept.n) == 0);
		cr_assert_eq(strain_piece(s, in.bytes + cut, in.n - cut, &kept, &err), 0, "%s",
			     err.text);
		expect_kept(&kept, &want, want.n);
		strainer_destroy(s);
	}
	ram_map_destroy(&drop);
}

Test(strainer, takes_pieces_of_any_size)
{
	_cleanup_stream_ struct qemu_stream in = {0}, want = {0}, kept = {0};
	struct ram_map drop = dropped_blocks();
	struct errtext err = {0};

	put_whole(&in, &want);
	for (size_t piece = 1; piece < 300; piece += piece < 20 ? 1 : 37) {
		struct strainer *s = strainer_for(&drop);

		kept.n = 0;
		for (size_t at = 0; at < in.n; at += piece)
			cr_assert_eq(strain_piece(s, in.bytes + at,
						  piece < in.n - at ? piece : in.n - at, &kept,
						  &err),
				     0, "%s", err.text);
		expect_kept(&kept, &want, want.n);
		strainer_destroy(s);
	}
	ram_map_destroy(&drop);
}

/* Machine types before 2.4. */
Test(strainer, takes_a_stream_without_configuration_and_footers)
{
	_cleanup_stream_ struct qemu_stream in = {0}, kept = {0};
	struct ram_map drop = {0};
	struct strainer *s;
	struct errtext err = {0};

	drop_block(&drop, "pc.ram", PAGE);
	s = strainer_for(&drop);
	put_header(&in);
	put_start(&in, "ram", 4);
	put_be64(&in, PAGE | ITEM_MEM_SIZE);
	put_listed(&in, "pc.ram", PAGE);
	put_be64(&in, ITEM_EOS);
	put_section(&in, 3);
	put_be64(&in, ITEM_EOS);
	put_device_state(&in);
	cr_assert_eq(strain_piece(s, in.bytes, in.n, &kept, &err), 0, "%s", err.text);
	expect_kept(&kept, &in, in.n);
	cr_assert(strainer_is_past_ram(s));
	strainer_destroy(s);
	ram_map_destroy(&drop);
}

static int keep_little(void *opaque, const uint8_t *at, size_t n)
{
	size_t *left = opaque;

	(void)at;
	if (n > *left)
		return -ENOSPC;
	*left -= n;
	return 0;
}

Test(strainer, stops_for_good_where_keep_stops)
{
	_cleanup_stream_ struct qemu_stream in = {0}, want = {0};
	struct ram_map drop = dropped_blocks();

	put_whole(&in, &want);
	for (size_t most = 0; most < want.n; most++) {
		struct strainer *s = strainer_for(&drop);
		size_t left = most;

		cr_assert_eq(strainer_strain(s, in.bytes, in.n, keep_little, &left, NULL), -ENOSPC);
		left = SIZE_MAX;
		cr_assert_eq(strainer_strain(s, in.bytes, 1, keep_little, &left, NULL), -ENOSPC);
		strainer_destroy(s);
	}
	ram_map_destroy(&drop);
}
