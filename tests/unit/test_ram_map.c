// SPDX-License-Identifier: Apache-2.0
// RAM maps: order, ownership, what is refused, and how two hosts' maps are compared.
#include "ram_map.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1024ull * 1024)

static struct ram_block block_named(const char *name, uint64_t size, uint32_t page_size)
{
	struct ram_block block = {.size = size, .page_size = page_size, .fd = -1};

	snprintf(block.name, sizeof(block.name), "%s", name);
	return block;
}

static void add(struct ram_map *map, const char *name, uint64_t size)
{
	struct ram_block block = block_named(name, size, 4096);
	struct errtext err = {0};

	cr_assert_eq(ram_map_add(map, &block, &err), 0, "%s", err.text);
}

Test(ram_map, keeps_blocks_sorted_whatever_the_order)
{
	static const char *const names[] = {"pc.ram", "ram-node1", "a", "ram-node0", "z", "dimm1"};
	static const char *const sorted[] = {"a", "dimm1", "pc.ram", "ram-node0", "ram-node1", "z"};
	struct ram_map map = {0};

	for (unsigned int i = 0; i < 6; i++)
		add(&map, names[i], (i + 1) * MIB);
	cr_assert_eq(map.count, 6);
	for (unsigned int i = 0; i < 6; i++)
		cr_assert_str_eq(map.blocks[i].name, sorted[i]);
	cr_assert_eq(map.blocks[0].size, 3 * MIB, "size travels with its name");
	cr_assert_eq(ram_map_bytes(&map), 21 * MIB);
	cr_assert_eq(ram_block_pages(&map.blocks[0]), 768);
	ram_map_destroy(&map);
	cr_assert_eq(map.count, 0);
	cr_assert_eq(ram_map_bytes(&map), 0);
}

struct refused_row {
	char name[16];
	uint64_t size;
	uint32_t page_size;
	char says[48];
};

ParameterizedTestParameters(ram_map, refuses_impossible_blocks)
{
	static struct refused_row rows[] = {
		{"", MIB, 4096, "no name"},
		{"ram", 0, 4096, "size is 0"},
		{"ram", RAM_BLOCK_SIZE_MAX + 4096, 4096, "beyond the limit"},
		{"ram", UINT64_MAX, 4096, "beyond the limit"},
		{"ram", 4096 + 512, 4096, "no multiple"},
		{"ram", 3 * MIB, 2 * MIB, "no multiple"},
		{"ram", MIB, 0, "no power of two"},
		{"ram", MIB, 2048, "no power of two"},
		{"ram", 3 * 4096, 3 * 4096, "no power of two"},
		{"ram", MIB, UINT32_MAX, "no power of two"},
	};

	return cr_make_param_array(struct refused_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct refused_row *row, ram_map, refuses_impossible_blocks)
{
	struct ram_block block = block_named(row->name, row->size, row->page_size);
	struct ram_map map = {0};
	struct errtext err = {0};

	cr_assert_eq(ram_map_add(&map, &block, &err), -EINVAL);
	cr_assert(strstr(err.text, row->says), "%s", err.text);
	cr_assert_eq(map.count, 0);
}

Test(ram_map, accepts_the_extremes)
{
	struct ram_map map = {0};
	struct ram_block largest = block_named("largest", RAM_BLOCK_SIZE_MAX, 1u << 30);
	struct ram_block least = block_named("least", 4096, 4096);

	cr_assert_eq(ram_map_add(&map, &largest, NULL), 0);
	cr_assert_eq(ram_map_add(&map, &least, NULL), 0);
	ram_map_destroy(&map);
}

Test(ram_map, refuses_an_unterminated_name)
{
	struct ram_block block = block_named("", MIB, 4096);
	struct ram_map map = {0};
	struct errtext err = {0};

	memset(block.name, 'x', sizeof(block.name));
	cr_assert_eq(ram_map_add(&map, &block, &err), -EINVAL);
	cr_assert(strstr(err.text, "too long"), "%s", err.text);
}

Test(ram_map, refuses_a_name_twice_and_leaves_the_file_to_the_caller)
{
	struct ram_map map = {0};
	struct ram_block again = block_named("pc.ram", 2 * MIB, 4096);
	struct errtext err = {0};

	add(&map, "pc.ram", MIB);
	again.fd = memfd_create("again", MFD_CLOEXEC);
	cr_assert_geq(again.fd, 0);
	cr_assert_eq(ram_map_add(&map, &again, &err), -EEXIST);
	cr_assert(strstr(err.text, "pc.ram"));
	ram_map_destroy(&map);
	cr_assert_neq(fcntl(again.fd, F_GETFD), -1, "still open");
}

Test(ram_map, refuses_one_block_too_many)
{
	struct ram_map map = {0};
	struct ram_block extra = block_named("extra", MIB, 4096);
	char name[16];

	for (int i = 0; i < RAM_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "ram%d", i);
		add(&map, name, MIB);
	}
	cr_assert_eq(ram_map_add(&map, &extra, NULL), -E2BIG);
	cr_assert_eq(map.count, RAM_BLOCKS_MAX);
	ram_map_destroy(&map);
}

Test(ram_map, destroy_unmaps_and_closes)
{
	struct ram_map map = {0};
	struct ram_block block = block_named("ram", MIB, 4096);
	unsigned char present;
	void *address;

	block.fd = memfd_create("ram", MFD_CLOEXEC);
	cr_assert_geq(block.fd, 0);
	cr_assert_eq(ftruncate(block.fd, MIB), 0);
	address = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, block.fd, 0);
	cr_assert_neq(address, MAP_FAILED);
	block.map = address;
	cr_assert_eq(ram_map_add(&map, &block, NULL), 0);

	ram_map_destroy(&map);
	cr_assert_eq(fcntl(block.fd, F_GETFD), -1);
	cr_assert_eq(mincore(address, 4096, &present), -1);
	cr_assert_eq(errno, ENOMEM, "nothing is mapped there any more");
	ram_map_destroy(&map);
}

/* Blocks as "name:MIB" words. */
struct match_row {
	char local[64];
	char remote[64];
	int expected;
	char says[48];
};

static void parse_map(struct ram_map *map, const char *words)
{
	char name[32];
	unsigned int mib;
	int used;

	while (sscanf(words, " %31[^:]:%u%n", name, &mib, &used) == 2) {
		add(map, name, mib * MIB);
		words += used;
	}
}

ParameterizedTestParameters(ram_map, match)
{
	static struct match_row rows[] = {
		{"", "", 0, ""},
		{"a:1 b:2", "b:2 a:1", 0, ""},
		{"a:1", "a:2", -EINVAL, "'a' has 1048576 bytes here and 2097152"},
		{"a:1 b:1", "a:1", -EINVAL, "'b' (1048576 bytes) exists here"},
		{"a:1", "a:1 b:1", -EINVAL, "'b' (1048576 bytes) exists at the peer"},
		{"", "a:1", -EINVAL, "'a'"},
		{"a:1 c:1", "b:1 c:1", -EINVAL, "'a' (1048576 bytes) exists here"},
		{"b:1 c:1", "a:1 c:1", -EINVAL, "'a' (1048576 bytes) exists at the peer"},
		{"a:1 b:2", "a:2 b:1", -EINVAL, "'a'"},
		{"a:1 b:2", "a:1 c:2", -EINVAL, "'b'"},
	};

	return cr_make_param_array(struct match_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct match_row *row, ram_map, match)
{
	struct ram_map local = {0}, remote = {0};
	struct errtext err = {0};

	parse_map(&local, row->local);
	parse_map(&remote, row->remote);
	cr_assert_eq(ram_map_match(&local, &remote, &err), row->expected);
	cr_assert(strstr(err.text, row->says), "'%s' does not say '%s'", err.text, row->says);
	ram_map_destroy(&local);
	ram_map_destroy(&remote);
}

Test(ram_map, match_ignores_page_sizes)
{
	struct ram_map local = {0}, remote = {0};
	struct ram_block huge = block_named("ram", 4 * MIB, 2 * MIB);

	add(&local, "ram", 4 * MIB);
	cr_assert_eq(ram_map_add(&remote, &huge, NULL), 0);
	cr_assert_eq(ram_map_match(&local, &remote, NULL), 0);
	ram_map_destroy(&local);
	ram_map_destroy(&remote);
}
