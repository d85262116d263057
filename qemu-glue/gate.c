// SPDX-License-Identifier: Apache-2.0
// The gate: two threads, one a direction; the client's is cut into messages.
#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "cleanup.h"
#include "libvirt_rpc.h"

struct held {
	uint8_t *calls; /* whole messages, in order; owned; NULL: none */
	size_t len;
	bool may_pass;
	bool passed;
};

struct gate {
	/* constant after init */
	struct gate_options opt;
	char listen_path[108];
	int listen_fd;
	pthread_t to_server, to_client;
	bool to_server_started;
	bool to_client_started; /* private to to_server's thread until joined */

	pthread_mutex_t lock; /* also orders writes to the server; holders may block on it */
	/* under lock */
	struct held perform, confirm;
	bool all_confirms;

	pthread_mutex_t ends_lock; /* holders never block: a cut always gets through */
	/* under ends_lock; the descriptors stay as they are once both threads run */
	int client_fd, server_fd;
	bool cut;
};

static int unix_address(const char *path, struct sockaddr_un *addr, struct errtext *err)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr->sun_path))
		return errtext_set(err, -ENAMETOOLONG, "%s: too long for a UNIX socket", path);
	strcpy(addr->sun_path, path);
	return 0;
}

/* Under lock. */
static void let_pass(struct gate *g, struct held *held)
{
	held->may_pass = true;
	if (!held->calls)
		return;
	held->passed = true;
	libvirt_rpc_write(g->server_fd, held->calls, held->len);
	free(steal_ptr(&held->calls));
	held->len = 0;
}

/* Behind those held already: none slips past. Under lock. */
static bool park(struct held *held, const uint8_t *message, size_t len)
{
	uint8_t *grown = realloc(held->calls, held->len + len);

	if (!grown)
		return false;
	memcpy(grown + held->len, message, len);
	held->calls = grown;
	held->len += len;
	return true;
}

static bool is_cut(struct gate *g)
{
	bool cut;

	pthread_mutex_lock(&g->ends_lock);
	cut = g->cut;
	pthread_mutex_unlock(&g->ends_lock);
	return cut;
}

/* Where calls of this kind are held, or NULL. Under lock. */
static struct held *held_for(struct gate *g, enum libvirt_rpc_call call)
{
	switch (call) {
	case LIBVIRT_RPC_PERFORM:
		return &g->perform;
	case LIBVIRT_RPC_CONFIRM:
		return g->all_confirms ? &g->confirm : NULL;
	case LIBVIRT_RPC_CONFIRM_CANCELLED:
		return &g->confirm;
	default:
		return NULL;
	}
}

/* Takes the message. */
static bool forward(struct gate *g, uint8_t *message, size_t len)
{
	_cleanup_free_ uint8_t *mine = message;
	enum libvirt_rpc_call call = libvirt_rpc_classify(message, len);
	struct held *held;
	bool parked, ok;

	pthread_mutex_lock(&g->lock);
	held = held_for(g, call);
	parked = held && !held->may_pass;
	if (held && held->may_pass)
		held->passed = true;
	ok = parked ? park(held, message, len)
		    : !is_cut(g) && libvirt_rpc_write(g->server_fd, message, len);
	pthread_mutex_unlock(&g->lock);
	if (parked && ok && held == &g->perform)
		g->opt.perform_held(g->opt.opaque);
	else if (parked && ok)
		g->opt.confirm_held(g->opt.opaque, call == LIBVIRT_RPC_CONFIRM_CANCELLED);
	return ok;
}

static bool forward_next(struct gate *g, int client)
{
	size_t len;
	uint8_t *message = libvirt_rpc_read(client, &len);

	return message && forward(g, message, len);
}

static void shut_both(struct gate *g)
{
	pthread_mutex_lock(&g->ends_lock);
	g->cut = true;
	if (g->client_fd >= 0)
		shutdown(g->client_fd, SHUT_RDWR);
	if (g->server_fd >= 0)
		shutdown(g->server_fd, SHUT_RDWR);
	pthread_mutex_unlock(&g->ends_lock);
}

static void *to_client_main(void *arg)
{
	struct gate *g = arg;
	uint8_t buf[16384];
	ssize_t n;

	while ((n = read(g->server_fd, buf, sizeof(buf))) > 0)
		if (!libvirt_rpc_write(g->client_fd, buf, n))
			break;
	shut_both(g);
	return NULL;
}

static int connect_server(const char *path)
{
	struct sockaddr_un addr;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || unix_address(path, &addr, NULL) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return steal_fd(&fd);
}

/* Waits for the library's connection; gate_cut wakes it by shutting the listener down. */
static bool join_ends(struct gate *g)
{
	int client = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int server = client >= 0 ? connect_server(g->opt.libvirt_path) : -1;
	bool ok;

	pthread_mutex_lock(&g->ends_lock);
	g->client_fd = client;
	g->server_fd = server;
	ok = client >= 0 && server >= 0 && !g->cut;
	pthread_mutex_unlock(&g->ends_lock);
	return ok;
}

static void *to_server_main(void *arg)
{
	struct gate *g = arg;

	if (join_ends(g) && pthread_create(&g->to_client, NULL, to_client_main, g) == 0) {
		g->to_client_started = true;
		while (forward_next(g, g->client_fd))
			;
	}
	shut_both(g);
	return NULL;
}

static int listen_on(struct gate *g, struct errtext *err)
{
	struct sockaddr_un addr;
	int ret = unix_address(g->opt.listen_path, &addr, err);

	if (ret < 0)
		return ret;
	strcpy(g->listen_path, g->opt.listen_path);
	g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(g->listen_path);
	if (g->listen_fd < 0 || bind(g->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    chmod(g->listen_path, 0600) < 0 || listen(g->listen_fd, 1) < 0)
		return errtext_set(err, -errno, "%s: cannot listen: %s", g->listen_path,
				   strerror(errno));
	return 0;
}

int gate_new(const struct gate_options *options, struct gate **out, struct errtext *err)
{
	struct gate *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		return errtext_set(err, -ENOMEM, "out of memory");
	g->opt = *options;
	g->listen_fd = g->client_fd = g->server_fd = -1;
	g->confirm.may_pass = true;
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->ends_lock, NULL);
	ret = listen_on(g, err);
	if (ret == 0)
		ret = -pthread_create(&g->to_server, NULL, to_server_main, g);
	if (ret < 0) {
		gate_destroy(g);
		return errtext_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	}
	g->to_server_started = true;
	*out = g;
	return 0;
}

void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	let_pass(g, &g->perform);
	pthread_mutex_unlock(&g->lock);
}

bool gate_forbid(struct gate *g, bool all)
{
	bool in_time;

	pthread_mutex_lock(&g->lock);
	in_time = !g->confirm.passed && !is_cut(g);
	if (in_time) {
		g->confirm.may_pass = false;
		g->all_confirms = all;
	}
	pthread_mutex_unlock(&g->lock);
	return in_time;
}

void gate_permit(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	let_pass(g, &g->confirm);
	pthread_mutex_unlock(&g->lock);
}

int gate_share(struct gate *g, int *fd)
{
	int ret = -ENOTCONN;

	pthread_mutex_lock(&g->ends_lock);
	if (g->server_fd >= 0 && !g->cut) {
		*fd = fcntl(g->server_fd, F_DUPFD_CLOEXEC, 0);
		ret = *fd < 0 ? -errno : 0;
	}
	pthread_mutex_unlock(&g->ends_lock);
	return ret;
}

void gate_cut(struct gate *g)
{
	shutdown(g->listen_fd, SHUT_RDWR);
	shut_both(g);
}

void gate_destroy(struct gate *g)
{
	if (!g)
		return;
	if (g->listen_fd >= 0)
		gate_cut(g);
	if (g->to_server_started)
		pthread_join(g->to_server, NULL);
	if (g->to_client_started)
		pthread_join(g->to_client, NULL);
	cleanup_close(&g->client_fd);
	cleanup_close(&g->server_fd);
	cleanup_close(&g->listen_fd);
	if (g->listen_path[0])
		unlink(g->listen_path);
	free(g->perform.calls);
	free(g->confirm.calls);
	pthread_mutex_destroy(&g->lock);
	pthread_mutex_destroy(&g->ends_lock);
	free(g);
}
