// SPDX-License-Identifier: Apache-2.0
// Which huge pages of a hugetlbfs file have memory behind them.
//
// The probe is a mapping of its own that nobody reads or writes, registered with a userfaultfd for
// minor faults. UFFDIO_CONTINUE puts a page of the file into the mapping if the file has one
// (success, or EEXIST when that was done before), and says EFAULT if it has none; it never
// allocates. Whoever punches a hole takes the page out of all mappings, this one included.
//
// The kernel registers only what could be written, so the file is opened anew for that; the mapping
// itself is read-only. A process that maps guest RAM cannot be the probe with that mapping: all of
// its other accesses would become minor faults.
#include "hole_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cleanup.h"
#include "kernel_abi.h"

struct hole_probe {
	/* constant after init */
	uint8_t *map;
	uint64_t size; /* bytes */
	uint32_t page_size;
	int uffd;
};

static int map_file(struct hole_probe *p, int fd)
{
	_cleanup_close_ int own = -1;
	char path[40];
	void *at;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDWR | O_CLOEXEC);
	if (own < 0)
		return -errno;
	at = mmap(NULL, p->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, own, 0);
	if (at == MAP_FAILED)
		return -errno;
	p->map = at;
	return 0;
}

static int register_map(struct hole_probe *p)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MINOR_HUGETLBFS};
	struct uffdio_register reg = {.range = {.start = (uintptr_t)p->map, .len = p->size},
				      .mode = UFFDIO_REGISTER_MODE_MINOR};

	p->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (p->uffd < 0 || ioctl(p->uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(p->uffd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return 0;
}

int hole_probe_new(int fd, uint64_t size, uint32_t page_size, struct hole_probe **out)
{
	struct hole_probe *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	*p = (struct hole_probe){.size = size, .page_size = page_size, .uffd = -1};
	ret = map_file(p, fd);
	if (ret == 0)
		ret = register_map(p);
	if (ret < 0) {
		hole_probe_destroy(p);
		return ret;
	}
	*out = p;
	return 0;
}

void hole_probe_destroy(struct hole_probe *p)
{
	if (!p)
		return;
	if (p->map)
		munmap(p->map, p->size);
	cleanup_close(&p->uffd);
	free(p);
}

bool hole_probe_is_hole(const struct hole_probe *p, uint64_t unit)
{
	struct uffdio_continue c = {
		.range = {.start = (uintptr_t)p->map + unit * p->page_size, .len = p->page_size},
		.mode = UFFDIO_CONTINUE_MODE_DONTWAKE,
	};

	return ioctl(p->uffd, UFFDIO_CONTINUE, &c) < 0 && errno == EFAULT;
}
