// SPDX-License-Identifier: Apache-2.0
// The other end of a userfaultfd in a test: watch a victim's memory, take a fault, answer it.
#pragma once

#include <criterion/criterion.h>
#include <sys/ioctl.h>
#include "kernel_abi.h"
#include "victim.h"

#define FAULT_TIMEOUT_MS 10000 /* far beyond what a busy machine may add */

static inline void fault_watch(int uffd, const struct victim *v)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)v->ram, .len = VICTIM_PAGES * 4096},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	cr_assert_eq(ioctl(uffd, UFFDIO_REGISTER, &reg), 0, "%s", strerror(errno));
}

/* Wait for a fault at this page, and take it. */
static inline void fault_take(int uffd, const struct victim *v, unsigned int page)
{
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	struct uffd_msg msg;

	cr_assert_eq(poll(&p, 1, FAULT_TIMEOUT_MS), 1, "no fault");
	cr_assert_eq(read(uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
	cr_assert_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	cr_assert_eq(msg.arg.pagefault.address & ~4095ull, (uintptr_t)v->ram + page * 4096);
}

/* Place a page full of 'Q'. */
static inline void fault_answer(int uffd, const struct victim *v, unsigned int page)
{
	static char content[4096] __attribute__((aligned(4096)));
	struct uffdio_copy copy = {
		.dst = (uintptr_t)v->ram + page * 4096,
		.src = (uintptr_t)content,
		.len = sizeof(content),
	};

	memset(content, 'Q', sizeof(content));
	cr_assert_eq(ioctl(uffd, UFFDIO_COPY, &copy), 0, "%s", strerror(errno));
}

static inline void fault_order(struct victim *v, char order)
{
	cr_assert_eq(write(v->to[1], &order, 1), 1);
}

static inline char fault_outcome(struct victim *v)
{
	char answer = 0;

	cr_assert_eq(read(v->from[0], &answer, 1), 1);
	return answer;
}
