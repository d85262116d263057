// SPDX-License-Identifier: Apache-2.0
// Scope-exit clean-up: a variable marked _cleanup_(fn) is released when its scope ends, unless
// its value was stolen. The one clean-up idiom of the project.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline void *steal_ptr_(void *p)
{
	void *stolen = *(void **)p;

	*(void **)p = NULL;
	return stolen;
}

#define steal_ptr(p) ((__typeof__(*(p)))steal_ptr_(p))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)
