// SPDX-License-Identifier: Apache-2.0
// The memory of a synthetic guest, as both ends make it.
#include "bench_ram.h"

#include <errno.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cleanup.h"

#define HUGE_SIZE (2u << 20)

void bench_ram_block(const struct bench_options *o, struct ram_block *block)
{
	*block = (struct ram_block){
		.name = "pc.ram",
		.size = o->data + o->zero,
		.page_size = o->memory == BENCH_HUGE ? HUGE_SIZE : RAM_PAGE_SIZE,
		.fd = -1,
	};
}

int bench_ram_file(const struct bench_options *o, int *fd, struct errtext *err)
{
	unsigned int huge = o->memory == BENCH_HUGE ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	_cleanup_close_ int file = memfd_create("dray-bench", MFD_CLOEXEC | huge);

	if (file < 0 || ftruncate(file, (off_t)(o->data + o->zero)) < 0)
		return errtext_set(err, -errno, "no memory for a guest: %s", strerror(errno));
	*fd = steal_fd(&file);
	return 0;
}

int bench_ram_new(const struct bench_options *o, struct ram_map *ram, struct errtext *err)
{
	struct ram_block block;
	int fd = -1, ret = bench_ram_file(o, &fd, err);

	if (ret < 0)
		return ret;
	bench_ram_block(o, &block);
	block.fd = fd;
	ret = ram_block_map(&block, true, err);
	if (ret == 0 && o->memory == BENCH_HUGE &&
	    madvise(block.map, block.size, MADV_POPULATE_WRITE) < 0)
		ret = errtext_set(err, -errno,
				  "no huge pages for the guest's memory there: %s (enough of them? "
				  "see vm.nr_hugepages)",
				  strerror(errno));
	if (ret == 0)
		ret = ram_map_add(ram, &block, err);
	if (ret < 0) {
		ram_block_unmap(&block);
		close(fd);
	}
	return ret;
}
