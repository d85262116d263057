// SPDX-License-Identifier: Apache-2.0
// Loads and stores of guest memory.
//
// SIGBUS is a matter of the thread that touched the page, so the place to return to is that
// thread's, and one handler of the process looks there. It returns only for an address inside the
// mapping in question: any other SIGBUS is a bug, and ends the process as ever.
//
// Rejected: to copy by pread or process_vm_readv, which fail by errno. A system call and a copy for
// each page are dearer than all else that is done to it.
#include "ram_access.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include "ram_room.h"

struct access {
	sigjmp_buf back;
	const uint8_t *from, *to;
	const uint8_t *volatile at; /* of the page that could not be had */
	volatile int code;	    /* of siginfo_t */
};

/* The one thing that a signal handler can reach: the access that this thread is in. */
static _Thread_local struct access *volatile current;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct access *a = current;
	const uint8_t *at = info->si_addr;

	(void)context;
	if (a && at >= a->from && at < a->to) {
		a->at = at;
		a->code = info->si_code;
		siglongjmp(a->back, 1);
	}
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

/* SA_NODEFER: the mask needs no restoring, so that no access has to save it. */
void ram_access_init(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

static int failed(const struct ram_block *b, const struct access *a, struct errtext *err)
{
	uint64_t page = (uint64_t)(a->at - a->from) >> RAM_PAGE_SHIFT;

	if (a->code == BUS_MCEERR_AR || a->code == BUS_MCEERR_AO)
		return errtext_set(err, -EHWPOISON,
				   "RAM block %s: page %" PRIu64
				   " lies in broken memory of this host",
				   b->name, page);
	return ram_room_lacks(b, -ENOMEM, err);
}

/* False: a page of from..to could not be had. */
static bool guarded(struct access *a, void (*touch)(void *arg), void *arg)
{
	if (sigsetjmp(a->back, 0)) {
		current = NULL;
		return false;
	}
	current = a;
	touch(arg);
	current = NULL;
	return true;
}

int ram_access(const struct ram_block *b, void (*touch)(void *arg), void *arg, struct errtext *err)
{
	struct access a = {.from = b->map, .to = b->map + b->size};

	return guarded(&a, touch, arg) ? 0 : failed(b, &a, err);
}

struct range {
	const volatile uint8_t *at, *end;
};

static void load_pages(void *arg)
{
	const struct range *r = arg;

	for (const volatile uint8_t *p = r->at; p < r->end; p += RAM_PAGE_SIZE)
		(void)*p;
	(void)r->end[-1];
}

int ram_access_probe(const void *at, size_t n)
{
	struct range r = {.at = at, .end = (const uint8_t *)at + n};
	struct access a = {.from = at, .to = (const uint8_t *)at + n};

	return n == 0 || guarded(&a, load_pages, &r) ? 0 : -EFAULT;
}
