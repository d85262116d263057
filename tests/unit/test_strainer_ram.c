// SPDX-License-Identifier: Apache-2.0
// What the strainer does not take, of RAM.
#include "strainer.h"

#include "qemu_stream.h"

TestSuite(strainer_ram, .timeout = 60);

static void begin_ram(struct qemu_stream *s)
{
	put_header(s);
	put_start(s, "ram", 4);
}

static void no_list(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, ITEM_EOS);
}

static void page_before_list(struct qemu_stream *s)
{
	begin_ram(s);
	put_page(s, "pc.ram", 0);
}

static void second_list(struct qemu_stream *s)
{
	put_beginning(s);
	put_list(s);
}

static void late_list(struct qemu_stream *s)
{
	put_setup(s);
	put_section(s, 2);
	put_list(s);
}

static void list_of_others(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, 4 * PAGE | ITEM_MEM_SIZE);
	put_listed(s, "pc.ram", 4 * PAGE);
}

static void empty_list(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, ITEM_MEM_SIZE);
}

static void other_size(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, 8 * PAGE | ITEM_MEM_SIZE);
	put_listed(s, "pc.ram", 3 * PAGE);
}

static void block_beyond_list(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, PAGE | ITEM_MEM_SIZE);
	put_listed(s, "vga", 2 * PAGE);
}

static void empty_block(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, PAGE | ITEM_MEM_SIZE);
	put_listed(s, "vga", 0);
}

static void block_twice(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, 16 * PAGE | ITEM_MEM_SIZE);
	put_listed(s, "pc.ram", 4 * PAGE);
	put_listed(s, "/objects/pc.ram", 4 * PAGE);
}

/* What x-ignore-shared and huge pages with post-copy add to each block. */
static void address_in_list(struct qemu_stream *s)
{
	begin_ram(s);
	put_be64(s, 8 * PAGE | ITEM_MEM_SIZE);
	put_listed(s, "pc.ram", 4 * PAGE);
	put_be64(s, 2u << 20);
}

static void begin_part(struct qemu_stream *s)
{
	put_setup(s);
	put_section(s, 2);
}

static void page_beyond_block(struct qemu_stream *s)
{
	begin_part(s);
	put_zero(s, "pc.ram", 4 * PAGE, 0);
}

static void page_of_nothing(struct qemu_stream *s)
{
	begin_part(s);
	put_page(s, NULL, 0);
}

static void page_without_name(struct qemu_stream *s)
{
	begin_part(s);
	put_page(s, "", 0);
}

static void xbzrle(struct qemu_stream *s)
{
	begin_part(s);
	put_be64(s, PAGE | 0x40);
}

static void page_and_zero(struct qemu_stream *s)
{
	begin_part(s);
	put_be64(s, PAGE | ITEM_PAGE | ITEM_ZERO);
}

static void unknown_flag(struct qemu_stream *s)
{
	begin_part(s);
	put_be64(s, ITEM_PAGE | 0x400);
}

static void no_flag(struct qemu_stream *s)
{
	begin_part(s);
	put_be64(s, PAGE);
}

static void end_with_address(struct qemu_stream *s)
{
	begin_part(s);
	put_be64(s, PAGE | ITEM_EOS);
}

static const struct misfit misfits[] = {
	{no_list, "no list of blocks"},
	{page_before_list, "before the list"},
	{second_list, "second list"},
	{late_list, "second list"},
	{list_of_others, "does not list RAM block 'ram-node0'"},
	{empty_list, "does not list RAM block 'pc.ram'"},
	{other_size, "has 12288 bytes there, and 16384"},
	{block_beyond_list, "'vga' is listed with 8192 bytes of 4096"},
	{empty_block, "'vga' is listed with 0 bytes"},
	{block_twice, "'pc.ram' is listed twice"},
	{address_in_list, "has no name"},
	{page_beyond_block, "16384 bytes has a page at 16384"},
	{page_of_nothing, "none before"},
	{page_without_name, "has no name"},
	{xbzrle, "item 0x1040, with the flags 0x040"},
	{page_and_zero, "flags 0x00a"},
	{unknown_flag, "flags 0x408"},
	{no_flag, "flags 0x000"},
	{end_with_address, "item 0x1010"},
};

Test(strainer_ram, says_what_it_does_not_take)
{
	expect_misfits(misfits, sizeof(misfits) / sizeof(misfits[0]));
}
