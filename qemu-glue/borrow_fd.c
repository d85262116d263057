// SPDX-License-Identifier: Apache-2.0
// Pass an open descriptor to another process.
//
// Nothing in the kernel puts a descriptor into another process; that process must receive it. So
// the borrowed thread is made to
//
//   1. map a page, for what its system calls read and write,
//   2. make a socket pair; we fetch one end by pidfd_getfd and send the descriptor over it,
//   3. receive from the other end,
//   4. close the pair and unmap the page.
//
// Why not memory that is there, say below its stack pointer: that may be a guard page, or the end
// of a coroutine's stack, and would have to be put back as it was. A fresh page is nobody's.
//
// QEMU's sandbox (libvirt: -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,
// resourcecontrol=deny) has a list of what it denies; none of these calls is on it.
#include "borrow_fd.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "cleanup.h"

#define PAGE 4096

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

/* What lies in the page inside. */
struct inside {
	int pair[2];
	struct msghdr msg;
	struct iovec iov;
	union control control;
	char byte;
};

_Static_assert(sizeof(struct inside) <= PAGE, "one page");

int fd_send(int sock, const void *data, size_t size, int fd)
{
	union control control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int copy_in(const struct borrow *b, long page, struct inside *in)
{
	struct iovec local = {.iov_base = in, .iov_len = sizeof(*in)};
	struct iovec remote = {.iov_base = (void *)page, .iov_len = sizeof(*in)};
	ssize_t n = process_vm_writev(b->tid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n == (ssize_t)sizeof(*in) ? 0 : -EFAULT;
}

static int copy_out(const struct borrow *b, long page, struct inside *in)
{
	struct iovec local = {.iov_base = in, .iov_len = sizeof(*in)};
	struct iovec remote = {.iov_base = (void *)page, .iov_len = sizeof(*in)};
	ssize_t n = process_vm_readv(b->tid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n == (ssize_t)sizeof(*in) ? 0 : -EFAULT;
}

static int send_into(int pidfd, int end, int fd)
{
	_cleanup_close_ int ours = (int)syscall(SYS_pidfd_getfd, pidfd, end, 0);

	return ours < 0 ? -errno : fd_send(ours, "", 1, fd);
}

static int receive_inside(struct borrow *b, long page, int end, int *fd)
{
	struct inside in = {
		.iov = {.iov_base = (char *)page + offsetof(struct inside, byte), .iov_len = 1},
		.msg = {.msg_iov = (void *)(page + offsetof(struct inside, iov)),
			.msg_iovlen = 1,
			.msg_control = (char *)page + offsetof(struct inside, control),
			.msg_controllen = sizeof(in.control)},
	};
	int ret = copy_in(b, page, &in);
	long n;

	if (ret < 0)
		return ret;
	n = borrow_call(b, SYS_recvmsg,
			(long[6]){end, page + (long)offsetof(struct inside, msg),
				  MSG_CMSG_CLOEXEC | MSG_DONTWAIT});
	if (n < 0)
		return (int)n;
	ret = copy_out(b, page, &in);
	if (ret < 0)
		return ret;
	if (in.msg.msg_flags & MSG_CTRUNC || in.msg.msg_controllen < CMSG_LEN(sizeof(int)) ||
	    in.control.header.cmsg_type != SCM_RIGHTS)
		return -EACCES;
	memcpy(fd, CMSG_DATA(&in.control.header), sizeof(*fd));
	return 0;
}

static int give_through(struct borrow *b, int pidfd, int fd, long page, int *inside)
{
	struct inside in;
	int ret = (int)borrow_call(b, SYS_socketpair,
				   (long[6]){AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
					     page + (long)offsetof(struct inside, pair)});

	if (ret < 0)
		return ret;
	ret = copy_out(b, page, &in);
	if (ret < 0)
		return ret;
	ret = send_into(pidfd, in.pair[0], fd);
	if (ret == 0)
		ret = receive_inside(b, page, in.pair[1], inside);
	for (int i = 0; i < 2; i++) {
		int closed = (int)borrow_call(b, SYS_close, (long[6]){in.pair[i]});

		if (ret == 0)
			ret = closed;
	}
	return ret;
}

int borrow_give_fd(struct borrow *b, int pidfd, int fd, int *inside)
{
	long page = borrow_call(
		b, SYS_mmap,
		(long[6]){0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0});
	int ret, unmapped;

	if (page < 0)
		return (int)page;
	*inside = -1;
	ret = give_through(b, pidfd, fd, page, inside);
	unmapped = (int)borrow_call(b, SYS_munmap, (long[6]){page, PAGE});
	if (ret == 0)
		ret = unmapped;
	if (ret < 0 && *inside >= 0)
		borrow_call(b, SYS_close, (long[6]){*inside});
	return ret;
}
