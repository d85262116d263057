// SPDX-License-Identifier: Apache-2.0
// A QMP client: one JSON object per line in each direction.
//
// A message is an event, or the answer to the command whose id it carries. While qmp_execute waits
// for its answer, events are handed out as they come, and nothing complete is left in the buffer
// when a call returns: so whoever polls the descriptor never misses an event that was read
// already. The one exception is qmp_open, before anybody could ask for events; what it read too
// much is handed out by qmp_on_event.
//
// An answer with an unknown id belongs to a command that was given up, and is dropped.
#include "qmp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <json-c/json_tokener.h>
#include "cleanup.h"
#include "cleanup_json.h"
#include "fs_user.h"

#define READ_MIN (16u * 1024)

struct qmp {
	/* constant after qmp_adopt */
	int fd;
	pid_t peer;
	char *name;
	struct json_tokener *tokener;

	char *buf;
	size_t used, size; /* bytes */
	size_t scanned;	   /* no newline in the first so many */
	int dead;	   /* the error that ended the connection, or 0 */

	uint64_t id;	     /* of the command under way, or the last one */
	bool waiting;	     /* for its answer */
	json_object *answer; /* NULL: not there yet */

	uint64_t posted; /* id of the command that nobody waits for, or 0 */
	qmp_answer_fn *on_answer;
	void *answer_opaque;

	qmp_event_fn *on_event;
	void *opaque;
	bool in_callback;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int die(struct qmp *q, int error, const char *why, struct errtext *err)
{
	q->dead = error;
	return errtext_set(err, error, "QEMU monitor %s: %s", q->name, why);
}

static int still_alive(struct qmp *q, struct errtext *err)
{
	assert(!q->in_callback);
	return q->dead ? die(q, q->dead, "the connection has ended", err) : 0;
}

/* ---- messages ---- */

static uint64_t event_time_us(json_object *event)
{
	json_object *stamp, *seconds, *micros;

	if (!json_object_object_get_ex(event, "timestamp", &stamp) ||
	    !json_object_object_get_ex(stamp, "seconds", &seconds) ||
	    !json_object_object_get_ex(stamp, "microseconds", &micros) ||
	    json_object_get_int64(seconds) < 0 || json_object_get_int64(micros) < 0)
		return 0;
	return json_object_get_uint64(seconds) * 1000000 + json_object_get_uint64(micros);
}

static void deliver(struct qmp *q, json_object *event, const char *name)
{
	json_object *data = NULL;

	if (!q->on_event)
		return;
	json_object_object_get_ex(event, "data", &data);
	q->in_callback = true;
	q->on_event(q->opaque, name, data, event_time_us(event));
	q->in_callback = false;
}

static int refusal(struct qmp *q, const char *cmd, json_object *error, struct errtext *err)
{
	json_object *field;
	const char *class = "", *desc = "no reason given";

	if (json_object_object_get_ex(error, "class", &field))
		class = json_object_get_string(field);
	if (json_object_object_get_ex(error, "desc", &field))
		desc = json_object_get_string(field);
	return errtext_set(err, class && !strcmp(class, "CommandNotFound") ? -ENOSYS : -EREMOTEIO,
			   "QEMU monitor %s: %s: %s", q->name, cmd, desc ? desc : "");
}

static void deliver_answer(struct qmp *q, json_object *answer)
{
	struct errtext err = {0};
	json_object *error;
	int ret = json_object_object_get_ex(answer, "error", &error)
			  ? refusal(q, "a command", error, &err)
			  : 0;

	q->posted = 0;
	q->in_callback = true;
	q->on_answer(q->answer_opaque, ret, &err);
	q->in_callback = false;
}

/* Takes over the reference. */
static void sort_message(struct qmp *q, json_object *message)
{
	_cleanup_json_ json_object *o = message;
	json_object *field;

	if (json_object_object_get_ex(o, "event", &field) &&
	    json_object_is_type(field, json_type_string)) {
		deliver(q, o, json_object_get_string(field));
	} else if (json_object_object_get_ex(o, "id", &field)) {
		uint64_t id = json_object_get_uint64(field);

		if (q->posted && id == q->posted) {
			deliver_answer(q, o);
		} else if (q->waiting && id == q->id) {
			q->waiting = false;
			q->answer = steal_ptr(&o);
		}
	}
}

static json_object *parse(struct qmp *q, const char *line, size_t len)
{
	json_object *o;

	json_tokener_reset(q->tokener);
	json_tokener_set_flags(q->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(q->tokener, line, (int)len);
	if (o && (json_tokener_get_error(q->tokener) != json_tokener_success ||
		  !json_object_is_type(o, json_type_object))) {
		json_object_put(o);
		o = NULL;
	}
	return o;
}

/* Take one message out of the buffer. 1, 0 if no whole one is there, or a negative errno. */
static int next_message(struct qmp *q, json_object **message, struct errtext *err)
{
	char *end;
	size_t len;

	do {
		end = memchr(q->buf + q->scanned, '\n', q->used - q->scanned);
		if (!end) {
			q->scanned = q->used;
			return 0;
		}
		len = (size_t)(end - q->buf);
		while (len > 0 && q->buf[len - 1] == '\r')
			len--;
		*message = len ? parse(q, q->buf, len) : NULL;
		q->used -= (size_t)(end + 1 - q->buf);
		q->scanned = 0;
		memmove(q->buf, end + 1, q->used);
	} while (len == 0);
	return *message ? 1 : die(q, -EPROTO, "what it sends is no QMP", err);
}

static int sort_messages(struct qmp *q, struct errtext *err)
{
	json_object *message;
	int ret;

	while ((ret = next_message(q, &message, err)) > 0)
		sort_message(q, message);
	return ret;
}

/* ---- bytes ---- */

static int make_room(struct qmp *q, struct errtext *err)
{
	size_t size = q->size ? 2 * q->size : READ_MIN;
	char *buf;

	if (q->size - q->used >= READ_MIN / 2)
		return 0;
	if (q->used > QMP_LINE_MAX)
		return die(q, -EPROTO, "it sends a message without end", err);
	buf = realloc(q->buf, size);
	if (!buf)
		return die(q, -ENOMEM, "out of memory", err);
	q->buf = buf;
	q->size = size;
	return 0;
}

/* One read. 1: something came; 0: nothing there. */
static int read_some(struct qmp *q, struct errtext *err)
{
	ssize_t n;
	int ret = make_room(q, err);

	if (ret < 0)
		return ret;
	n = recv(q->fd, q->buf + q->used, q->size - q->used, MSG_DONTWAIT);
	if (n > 0) {
		q->used += (size_t)n;
		return 1;
	}
	if (n == 0)
		return die(q, -ECONNRESET, "QEMU closed it", err);
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	return die(q, -errno, strerror(errno), err);
}

static int wait_for(struct qmp *q, short events, int64_t deadline, const char *what,
		    struct errtext *err)
{
	for (;;) {
		struct pollfd p = {.fd = q->fd, .events = events};
		int64_t left = deadline - now_ms();
		int ret = poll(&p, 1, left > 0 ? (int)left : 0);

		if (ret > 0)
			return 0;
		if (ret == 0)
			return errtext_set(err, -ETIMEDOUT, "QEMU monitor %s: no answer to %s",
					   q->name, what);
		if (errno != EINTR)
			return die(q, -errno, strerror(errno), err);
	}
}

static int send_all(struct qmp *q, const char *text, size_t len, int64_t deadline, const char *what,
		    struct errtext *err)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(q->fd, text + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		int ret;

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EPIPE)
			return die(q, -ECONNRESET, "QEMU closed it", err);
		if (errno != EAGAIN && errno != EINTR)
			return die(q, -errno, strerror(errno), err);
		ret = wait_for(q, POLLOUT, deadline, what, err);
		if (ret == -ETIMEDOUT && sent > 0)
			q->dead = ret; /* half a command: the next one would be garbage */
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- commands ---- */

static int send_command(struct qmp *q, const char *cmd, json_object *args, int64_t deadline,
			struct errtext *err)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	_cleanup_free_ char *text = NULL;
	const char *json;
	int len;

	json_object_object_add(o, "execute", json_object_new_string(cmd));
	if (args)
		json_object_object_add(o, "arguments", json_object_get(args));
	json_object_object_add(o, "id", json_object_new_uint64(++q->id));
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	len = json ? asprintf(&text, "%s\r\n", json) : -1;
	if (len < 0) {
		text = NULL;
		return errtext_set(err, -ENOMEM, "QEMU monitor %s: out of memory", q->name);
	}
	return send_all(q, text, (size_t)len, deadline, cmd, err);
}

static int take_answer(struct qmp *q, const char *cmd, json_object **ret, struct errtext *err)
{
	_cleanup_json_ json_object *answer = steal_ptr(&q->answer);
	json_object *field;

	if (json_object_object_get_ex(answer, "error", &field))
		return refusal(q, cmd, field, err);
	if (!json_object_object_get_ex(answer, "return", &field))
		return die(q, -EPROTO, "an answer without a result", err);
	if (ret)
		*ret = json_object_get(field);
	return 0;
}

/* Until the answer is there. `greedy`: then take whatever else is in the buffer, too. */
static int execute(struct qmp *q, const char *cmd, json_object *args, int64_t deadline, bool greedy,
		   json_object **result, struct errtext *err)
{
	int ret = send_command(q, cmd, args, deadline, err);

	q->waiting = ret == 0;
	while (ret >= 0) {
		json_object *message;

		while ((!q->answer || greedy) && (ret = next_message(q, &message, err)) > 0)
			sort_message(q, message);
		if (ret < 0 || q->answer)
			break;
		ret = wait_for(q, POLLIN, deadline, cmd, err);
		if (ret == 0)
			ret = read_some(q, err);
	}
	if (ret >= 0)
		return take_answer(q, cmd, result, err);
	q->waiting = false;
	json_object_put(steal_ptr(&q->answer));
	return ret;
}

int qmp_execute(struct qmp *q, const char *cmd, json_object *args, int timeout_ms,
		json_object **ret, struct errtext *err)
{
	int error = still_alive(q, err);

	return error ? error : execute(q, cmd, args, now_ms() + timeout_ms, true, ret, err);
}

int qmp_post(struct qmp *q, const char *cmd, json_object *args, qmp_answer_fn *fn, void *opaque,
	     struct errtext *err)
{
	int ret = still_alive(q, err);

	assert(!q->posted);
	if (ret == 0)
		ret = send_command(q, cmd, args, now_ms(), err);
	if (ret < 0)
		return ret;
	q->posted = q->id;
	q->on_answer = fn;
	q->answer_opaque = opaque;
	return 0;
}

int qmp_process(struct qmp *q, struct errtext *err)
{
	int ret = still_alive(q, err);

	if (ret < 0)
		return ret;
	while ((ret = read_some(q, err)) > 0) {
		ret = sort_messages(q, err);
		if (ret < 0)
			break;
	}
	return ret;
}

/* ---- opening and closing ---- */

static int greet(struct qmp *q, int64_t deadline, struct errtext *err)
{
	json_object *message, *greeting;
	bool proper;
	int ret;

	while ((ret = next_message(q, &message, err)) == 0) {
		ret = wait_for(q, POLLIN, deadline, "connect (does another client use it?)", err);
		if (ret == 0)
			ret = read_some(q, err);
		if (ret < 0)
			break;
	}
	if (ret < 0)
		return ret;
	proper = json_object_object_get_ex(message, "QMP", &greeting);
	json_object_put(message);
	if (!proper)
		return die(q, -EPROTO, "no greeting of QEMU", err);
	return execute(q, "qmp_capabilities", NULL, deadline, false, NULL, err);
}

int qmp_adopt(int fd, const char *name, int timeout_ms, struct qmp **out, struct errtext *err)
{
	struct qmp *q = calloc(1, sizeof(*q));
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	int ret;

	if (!q) {
		close(fd);
		return -ENOMEM;
	}
	q->fd = fd;
	q->name = strdup(name);
	q->tokener = json_tokener_new_ex(QMP_DEPTH_MAX);
	if (!q->name || !q->tokener || make_room(q, NULL) < 0)
		ret = errtext_set(err, -ENOMEM, "QEMU monitor %s: out of memory", name);
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		ret = errtext_set(err, -errno, "QEMU monitor %s: %s", name, strerror(errno));
	else
		ret = greet(q, now_ms() + timeout_ms, err);
	q->peer = cred.pid;
	if (ret < 0)
		qmp_close(q);
	else
		*out = q;
	return ret;
}

int qmp_open(const char *path, int timeout_ms, struct qmp **out, struct errtext *err)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner(path);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return errtext_set(err, -ENAMETOOLONG, "QEMU monitor %s: the path is too long",
				   path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errtext_set(err, -errno, "QEMU monitor %s: %s", path, strerror(errno));
	/* Never blocks on a UNIX socket: EAGAIN means that its queue is full. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errtext_set(err, errno == EAGAIN ? -EBUSY : -errno,
				   "QEMU monitor %s: cannot connect: %s", path, strerror(errno));
	return qmp_adopt(steal_fd(&fd), path, timeout_ms, out, err);
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	close(q->fd);
	json_object_put(q->answer);
	if (q->tokener)
		json_tokener_free(q->tokener);
	free(q->buf);
	free(q->name);
	free(q);
}

pid_t qmp_peer_pid(const struct qmp *q)
{
	return q->peer;
}

int qmp_fd(const struct qmp *q)
{
	return q->fd;
}

void qmp_on_event(struct qmp *q, qmp_event_fn *fn, void *opaque)
{
	assert(!q->in_callback);
	q->on_event = fn;
	q->opaque = opaque;
	sort_messages(q, NULL); /* an error here is remembered, and returned by the next call */
}

/* ---- what dray asks of QEMU ---- */

/* The caller's. */
static json_object *capability_arguments(const char *capability, bool on)
{
	json_object *args = json_object_new_object();
	json_object *list = json_object_new_array(), *one = json_object_new_object();

	json_object_object_add(one, "capability", json_object_new_string(capability));
	json_object_object_add(one, "state", json_object_new_boolean(on));
	json_object_array_add(list, one);
	json_object_object_add(args, "capabilities", list);
	return args;
}

int qmp_set_capability(struct qmp *q, const char *capability, bool on, struct errtext *err)
{
	_cleanup_json_ json_object *args = capability_arguments(capability, on);

	return qmp_execute(q, "migrate-set-capabilities", args, QMP_TIMEOUT_MS, NULL, err);
}

int qmp_post_capability(struct qmp *q, const char *capability, bool on, qmp_answer_fn *fn,
			void *opaque, struct errtext *err)
{
	_cleanup_json_ json_object *args = capability_arguments(capability, on);

	return qmp_post(q, "migrate-set-capabilities", args, fn, opaque, err);
}

int qmp_drop_on_close(struct qmp *q, const char *id, struct errtext *err)
{
	_cleanup_json_ json_object *args = json_object_new_object();
	char path[128];

	snprintf(path, sizeof(path), "/objects/%s", id);
	json_object_object_add(args, "path", json_object_new_string(path));
	json_object_object_add(args, "property", json_object_new_string("close-action"));
	json_object_object_add(args, "value", json_object_new_string("delete"));
	return qmp_execute(q, "qom-set", args, QMP_TIMEOUT_MS, NULL, err);
}

int qmp_drain_io(struct qmp *q, int timeout_ms, struct errtext *err)
{
	_cleanup_json_ json_object *args = json_object_new_object();

	json_object_object_add(args, "actions", json_object_new_array());
	return qmp_execute(q, "transaction", args, timeout_ms, NULL, err);
}
