// SPDX-License-Identifier: Apache-2.0
// TCP and UNIX sockets: connect, listen, accept, and exact reads and writes with a timeout.
//
// Every descriptor handed out is in blocking mode, close-on-exec, and the caller's to close.
// Calls share no state: any thread. They return 0 or a negative errno; those with an errtext
// fill it. SIGPIPE is never raised.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "errtext.h"

/* Some systems default to BBR, which over fast networks is 2.5 times slower. */
#define SOCKET_CONGESTION "cubic"

struct socket_options {
	char congestion[16];	  /* TCP congestion control, "" = system default */
	uint32_t user_timeout_ms; /* unacknowledged data for so long ends it; 0 = system default */
	uint32_t sndbuf, rcvbuf;  /* bytes; 0 = kernel autotuning */
	char bind[64];		  /* numeric address or interface to bind to, "" = any */
};

#define SOCKET_HOST_SIZE 256 /* bytes of a host name with its NUL */
#define SOCKET_PEER_SIZE 64  /* bytes of a peer's "address:port" text with its NUL */

/* Split HOST, HOST:PORT, ADDRESS, [V6], [V6]:PORT or a bare V6 address. -EINVAL with a text. */
int socket_parse_endpoint(const char *text, uint16_t default_port, char host[SOCKET_HOST_SIZE],
			  uint16_t *port, struct errtext *err);

/* Connect over TCP; every address of host is tried within timeout_ms in all (-1 = as long as the
 * kernel tries; a slow name server is not counted). opt may be NULL. */
int socket_connect(const char *host, uint16_t port, const struct socket_options *opt,
		   int timeout_ms, int *fd, struct errtext *err);

/* Listen for TCP, IPv4 and IPv6 unless opt->bind says otherwise. Port 0: any free one, see
 * socket_port(). opt may be NULL. */
int socket_listen(const struct socket_options *opt, uint16_t port, int *fd, struct errtext *err);

/* Wait for the next connection and apply opt (may be NULL) to it. peer gets its address. To be
 * able to stop waiting, poll first, or shutdown(2) listen_fd: -EINVAL then. */
int socket_accept(int listen_fd, const struct socket_options *opt, int *fd,
		  char peer[SOCKET_PEER_SIZE], struct errtext *err);

/* The address of whom fd is connected to. */
void socket_peer(int fd, char peer[SOCKET_PEER_SIZE]);
/* The TCP port that fd is bound to. */
int socket_port(int fd, uint16_t *port);

/* Listen on path; a socket left there by a process that has gone is replaced, one that still
 * answers is -EADDRINUSE. The file has mode 0600, less the umask, from the beginning. Whoever
 * closes fd also unlinks path. */
int socket_unix_listen(const char *path, int backlog, int *fd, struct errtext *err);
int socket_unix_connect(const char *path, int *fd, struct errtext *err);

/* Transfer exactly len bytes, within timeout_ms in all (-1 = no limit), on a blocking or
 * non-blocking fd. -ENODATA: the peer closed before the first byte; -ECONNRESET: in the middle;
 * -ETIMEDOUT; -EPIPE for a write after the peer has gone. */
int socket_read_full(int fd, void *buf, size_t len, int timeout_ms);
int socket_write_full(int fd, const void *buf, size_t len, int timeout_ms);
