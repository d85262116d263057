// SPDX-License-Identifier: Apache-2.0
// Give memory of another process back to the kernel.
//
// madvise(2) takes one range, and each call of a borrowed thread costs two stops. Newer kernels'
// process_madvise(2) takes a thousand, of the caller's own process, whatever the advice; older
// ones, and all of them of another process's memory, know only harmless advice. So it is tried
// first, and what it has not done is done one by one. To drop a range twice is harmless. 20,000
// single pages on a busy host: 0.05 s at once, 1.65 s one by one (Linux 6.18).
//
// Rejected: to let QEMU do it, by its balloon or by its own post-copy, which would have to be asked
// for by libvirt; UFFDIO_MOVE, which Linux 6.7 has not, and which fails for pages that somebody has
// pinned.
#include "borrow_drop.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

/* UIO_MAXIOV of the kernel. */
#define CHUNK 1024u
/* Below this the preparations cost more. */
#define FEW 8u

static int drop_singly(struct borrow *b, const struct iovec *ranges, unsigned int n)
{
	int ret = 0;

	for (unsigned int i = 0; i < n && ret == 0; i++)
		ret = (int)borrow_call(b, SYS_madvise,
				       (long[6]){(long)ranges[i].iov_base, (long)ranges[i].iov_len,
						 MADV_DONTNEED_LOCKED});
	return ret;
}

/* Where the list lies inside, and the process as it names itself. */
struct inside {
	long list;
	int pidfd;
};

static int put_list(const struct borrow *b, long list, const struct iovec *ranges, unsigned int n)
{
	const struct iovec local = {(void *)(uintptr_t)ranges, n * sizeof(*ranges)};
	const struct iovec remote = {(void *)list, n * sizeof(*ranges)};

	return process_vm_writev(b->tid, &local, 1, &remote, 1, 0) == (ssize_t)local.iov_len
		       ? 0
		       : -EFAULT;
}

/* False: not all of them. */
static bool drop_at_once(struct borrow *b, const struct inside *in, const struct iovec *ranges,
			 unsigned int n)
{
	long bytes = 0;

	for (unsigned int i = 0; i < n; i++)
		bytes += (long)ranges[i].iov_len;
	return put_list(b, in->list, ranges, n) == 0 &&
	       borrow_call(b, SYS_process_madvise,
			   (long[6]){in->pidfd, in->list, n, MADV_DONTNEED_LOCKED}) == bytes;
}

static int drop_in_chunks(struct borrow *b, const struct inside *in, const struct iovec *ranges,
			  unsigned int n)
{
	bool at_once = in->pidfd >= 0;
	int ret = 0;

	for (unsigned int done = 0; done < n && ret == 0; done += CHUNK) {
		unsigned int count = n - done < CHUNK ? n - done : CHUNK;

		at_once = at_once && drop_at_once(b, in, ranges + done, count);
		if (!at_once)
			ret = drop_singly(b, ranges + done, count);
	}
	return ret;
}

/* Its number is asked for inside, as it may be another in a name space of its own. */
static int open_itself(struct borrow *b)
{
	long pid = borrow_call(b, SYS_getpid, (long[6]){0});

	return pid < 0 ? (int)pid : (int)borrow_call(b, SYS_pidfd_open, (long[6]){pid, 0});
}

int borrow_drop(struct borrow *b, const struct iovec *ranges, unsigned int n)
{
	const long size = CHUNK * sizeof(*ranges);
	struct inside in;
	int ret, closed = 0, unmapped;

	if (n < FEW)
		return drop_singly(b, ranges, n);
	in.list = borrow_call(
		b, SYS_mmap,
		(long[6]){0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0});
	if (in.list < 0) /* as where QEMU may have no more memory */
		return drop_singly(b, ranges, n);
	in.pidfd = open_itself(b);
	ret = drop_in_chunks(b, &in, ranges, n);
	if (in.pidfd >= 0)
		closed = (int)borrow_call(b, SYS_close, (long[6]){in.pidfd});
	unmapped = (int)borrow_call(b, SYS_munmap, (long[6]){in.list, size});
	if (ret == 0)
		ret = closed;
	return ret < 0 ? ret : unmapped;
}
