// SPDX-License-Identifier: Apache-2.0
// Is there room for a guest's memory, and who says so where.
#include "ram_room.h"

#include <criterion/criterion.h>
#include <errno.h>
#include "small_pool.h"

#define MIB (1ull << 20)

TestSuite(ram_room, .timeout = 20);

Test(ram_room, what_is_there_does_not_count_as_to_come)
{
	struct ram_map ram = {0};
	struct errtext err = {0};
	struct ram_block blocks[2] = {{.allocated = 4 * MIB}, {.allocated = 5 * MIB}};
	const struct ram_map from = {2, blocks};

	small_pool_mount(RAM_PAGE_SIZE, 8 * MIB);
	small_pool_add(&ram, "a", 16 * MIB, RAM_PAGE_SIZE);
	small_pool_add(&ram, "b", 16 * MIB, RAM_PAGE_SIZE);
	cr_assert_eq(ram_room_check(&ram, &from, &err), -ENOSPC);
	cr_assert_str_eq(err.text, "the destination lacks memory: 9 MiB of the guest's RAM are to "
				   "come, and of /mnt (tmpfs) 8 MiB are free: make room there");
	err = (struct errtext){0};
	memset(ram.blocks[0].map, 1, 3 * MIB);
	cr_assert_eq(ram_room_check(&ram, &from, &err), -ENOSPC, "6 MiB to come, 5 free");
	blocks[1].allocated -= MIB;
	err = (struct errtext){0};
	cr_assert_eq(ram_room_check(&ram, &from, &err), 0, "%s", err.text);
	guest_ram_destroy(&ram);
}

Test(ram_room, huge_pages)
{
	struct ram_map ram = {0};
	struct errtext err = {0};
	struct ram_block block = {.allocated = 4 * MIB};
	const struct ram_map from = {1, &block};

	small_pool_want(2);
	small_pool_mount(GUEST_HUGE_SIZE, 4 * MIB);
	small_pool_add(&ram, "a", 16 * MIB, GUEST_HUGE_SIZE);
	cr_assert_eq(ram_room_check(&ram, &from, &err), 0, "%s", err.text);
	block.allocated = 6 * MIB;
	cr_assert_eq(ram_room_check(&ram, &from, &err), -ENOSPC);
	cr_assert(strstr(err.text, "of huge pages of 2048 KiB 4 MiB are free"), "%s", err.text);
	guest_ram_destroy(&ram);
}

/* Its pages may have been given to QEMU already: no file tells. */
Test(ram_room, private_huge_pages_take_from_no_file)
{
	struct ram_map ram = {.count = 1};
	struct errtext err = {0};
	struct ram_block block = {.allocated = 1ull << 45};
	const struct ram_map from = {1, &block};

	ram.blocks = &(struct ram_block){.name = "a",
					 .size = 1ull << 45,
					 .page_size = GUEST_HUGE_SIZE,
					 .private_to = getpid(),
					 .fd = (int)syscall(SYS_pidfd_open, getpid(), 0)};
	cr_assert_geq(ram.blocks[0].fd, 0);
	cr_assert_eq(ram_room_check(&ram, &from, &err), 0, "%s", err.text);
	close(ram.blocks[0].fd);
}

/* A memory file of the kernel's own has no limit that could be told. */
Test(ram_room, no_limit_is_known)
{
	struct ram_map ram = {0};
	struct errtext err = {0};
	struct ram_block block = {.allocated = 1ull << 45};
	const struct ram_map from = {1, &block};

	guest_ram_add(&ram, "a", MIB, RAM_PAGE_SIZE);
	cr_assert_eq(ram_room_check(&ram, &from, &err), 0, "%s", err.text);
	cr_assert_eq(ram_room_lacks(&ram.blocks[0], -ENOMEM, &err), -ENOMEM);
	cr_assert(strstr(err.text, "there is no memory for it in "), "%s", err.text);
	guest_ram_destroy(&ram);
}
