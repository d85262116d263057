// SPDX-License-Identifier: Apache-2.0
// Guest memory that cannot be had is an error of whoever touched it, and of nobody else.
#include "ram_access.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include "small_pool.h"

TestSuite(ram_access, .timeout = 20);

struct visit {
	const struct ram_block *block;
	uint64_t pages; /* of the file; touches the first byte of each */
	volatile uint64_t touched;
};

static void touch(void *arg)
{
	struct visit *v = arg;

	for (v->touched = 0; v->touched < v->pages; v->touched++)
		*(volatile uint8_t *)(v->block->map + v->touched * v->block->page_size) = 1;
}

static const uint32_t page_sizes[] = {RAM_PAGE_SIZE, GUEST_HUGE_SIZE};

ParameterizedTestParameters(ram_access, no_memory_is_an_error)
{
	return cr_make_param_array(const uint32_t, (uint32_t *)page_sizes, 2);
}

ParameterizedTest(const uint32_t *page_size, ram_access, no_memory_is_an_error)
{
	struct errtext err = {0};
	struct ram_map ram = {0};
	struct visit v = {.pages = 8};

	small_pool_want(4);
	small_pool_mount(*page_size, 4ull * *page_size);
	small_pool_add(&ram, "pc.ram", 8ull * *page_size, *page_size);
	ram_access_init();
	v.block = &ram.blocks[0];
	for (int i = 0; i < 3; i++) {
		err = (struct errtext){0};
		cr_assert_eq(ram_access(v.block, touch, &v, &err), -ENOMEM);
		cr_assert_eq(v.touched, 4);
		cr_assert(strstr(err.text, "RAM block pc.ram: there is no memory for it"), "%s",
			  err.text);
		cr_assert(strstr(err.text, " 0 MiB are free now"), "%s", err.text);
		cr_assert(strstr(err.text, *page_size > RAM_PAGE_SIZE ? "huge pages of 2048 KiB"
								      : "/mnt (tmpfs)"),
			  "%s", err.text);
	}
	v.pages = 4;
	cr_assert_eq(ram_access(v.block, touch, &v, &err), 0);
	guest_ram_destroy(&ram);
}

static void *visit_often(void *arg)
{
	struct visit *v = arg;

	for (int i = 0; i < 200; i++) {
		int ret = ram_access(v->block, touch, v, NULL);

		if (ret != (v->pages > 4 ? -ENOMEM : 0))
			return v;
	}
	return NULL;
}

Test(ram_access, each_thread_has_its_own_error)
{
	struct ram_map ram = {0};
	struct visit visits[4];
	pthread_t threads[4];

	small_pool_mount(RAM_PAGE_SIZE, 4 * RAM_PAGE_SIZE);
	small_pool_add(&ram, "pc.ram", 8 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	ram_access_init();
	memset(ram.blocks[0].map, 1, 4 * RAM_PAGE_SIZE);
	for (unsigned int i = 0; i < 4; i++) {
		visits[i] = (struct visit){.block = &ram.blocks[0], .pages = i % 2 ? 8 : 4};
		cr_assert_eq(pthread_create(&threads[i], NULL, visit_often, &visits[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong);
	}
	guest_ram_destroy(&ram);
}

/* A SIGBUS that is not about guest memory is a bug, and ends the process. */
Test(ram_access, others_are_fatal, .signal = SIGBUS)
{
	ram_access_init();
	raise(SIGBUS);
}

static void touch_another(void *arg)
{
	*(volatile uint8_t *)arg = 1;
}

Test(ram_access, other_memory_is_fatal, .signal = SIGBUS)
{
	struct ram_map ram = {0};

	small_pool_mount(RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	small_pool_add(&ram, "a", 2 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	small_pool_add(&ram, "b", 2 * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
	ram_access_init();
	ram.blocks[0].map[0] = 1;
	ram_access(&ram.blocks[0], touch_another, ram.blocks[1].map, NULL);
}
