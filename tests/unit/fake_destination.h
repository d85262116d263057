// SPDX-License-Identifier: Apache-2.0
// A destination without a guest: one session, in the test's own thread, with a source that the test
// plays, a libvirt that it writes (fake_host.h), and a QEMU that answers every command.
//
// What happens is a script, a letter for each mail. The session's thread gets the next one whenever
// it asks for mail, so that the order is exact and nobody waits; time passes when the script says
// so and when it has come to its end.
//
//   L  LISTEN                 A  ABORT                      E  QEMU says RESUME
//   V  LISTEN, with a proof   X  a message out of place     G  QEMU's monitor has closed
//   D  DIGEST?                C  the source is lost         K  post-copy: the last page has come
//   R  RELEASE                S  a RAM stream is lost       .  nothing, for as long as may be
//   F  FINISH                 q  whoever is ahead in the queue leaves it
//   i  `dray status`          c  `dray cancel`
//   g  the source gives up over the latest page link: part of its memory is lost
//
// and, of the source's other connections, which have come when the session goes on:
//
//   r  a RAM stream with a page   l  a page link (o: one that asks what is owed)
//   s  the same, a stale page     f  a fault stream: the guest reads the page
//   p  a push stream with it      t  libvirt's tunnel
//   u  QEMU's stream, of one byte w  (QEMU has taken that byte)
//                                 b  (QEMU has its capability back)
//   B  QEMU says BALLOON_CHANGE      M  QEMU has loaded its state
//
//   struct fake_destination *d = fake_destination_new();
//   d->libvirt_says = DOMAIN_RUNNING;      when the guest is looked for later on
//   fake_destination_run(d, "LREK");
//   ... d->result, d->record, d->guard, d->sent, fake_libvirt_did(d->libvirt)
//   fake_destination_destroy(d);
//
// fake_destination_leave and fake_destination_carry_on: a session that another process began.
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "clock.h"
#include "control.h"
#include "fake_host.h"
#include "fake_source.h"
#include "guest_ram.h"
#include "incoming_private.h"
#include "live.h"
#include "missing.h"
#include "process.h"
#include "receiver.h"
#include "socket.h"

#define FAKE_UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define FAKE_RAM_BYTES (64u << 10)
#define FAKE_IDLE_MAX 20000 /* waits with nothing to come: the session hangs */

enum fake_guard { FAKE_GUARD_NONE, FAKE_GUARD_DONE, FAKE_GUARD_LEFT };

/* What is made to fail: each once it is reached, and from then on. */
enum fake_step {
	FAKE_STEP_NONE,
	FAKE_STEP_QUEUE,
	FAKE_STEP_DIR,
	FAKE_STEP_GUARD,
	FAKE_STEP_MONITOR,    /* it cannot be opened */
	FAKE_STEP_CAPABILITY, /* QEMU refuses it, switched on */
	FAKE_STEP_FIND_RAM,
	FAKE_STEP_OTHER_RAM, /* QEMU has other blocks than the source */
	FAKE_STEP_USERFAULTFD,
	FAKE_STEP_RECORD, /* from the release on it cannot be written */
	FAKE_STEP_FORGET, /* QEMU refuses it, switched off */
	FAKE_STEP_CLOSE_INSIDE,
	FAKE_STEP_QEMU_GONE, /* as it is to be closed inside */
	FAKE_STEP_SILENCE,   /* QEMU never says that it is switched off */
	FAKE_STEP_END_
};

/* A QEMU's monitor: a thread that answers. */
struct fake_monitor {
	int fd;
	pthread_t thread;
};

#define FAKE_MONITORS 4

struct fake_destination {
	/* what the test wants */
	bool defined_before;
	bool paused;			/* by its user, on the source */
	bool autostart;			/* on the source */
	bool patient;			/* the source waits on when the script is over */
	bool listens_for_it;		/* another process listens where its QEMU would */
	enum domain_state libvirt_says; /* from the second look on */
	unsigned int libvirt_hesitates; /* so many looks: INCOMING first */
	bool libvirt_is_silent;		/* no look but the first is answered */
	enum fake_step failing;
	unsigned int ahead;	   /* in the queue */
	unsigned int monitor_late; /* so many tries; under lock */
	enum wire_type odd;	   /* X; PREPARED if not set */
	bool trial;		   /* the source only asks */
	bool strained;		   /* the source's QEMU sends the memory */
	uint64_t features;	   /* that the source knows, too */
	bool private_here;	   /* QEMU has its memory to itself */
	struct memory_dir memory_dir;
	uint64_t memory_free;  /* 0: nobody knows */
	bool memory_of_daemon; /* what is free in its control group was wanted */
	/* of a session that another process began */
	enum domain_state libvirt_said; /* at the first look */
	bool all_has_come, nothing_inside, locked;
	bool private_before;	  /* the memory was private to QEMU */
	unsigned int predecessor; /* so many looks at the guest's directory find it locked */

	/* what came of it */
	struct incoming_result result;
	struct record record;
	bool recorded;
	enum fake_guard guard;
	char sent[256];	    /* to the source: "PREPARED READY RELEASED ..." */
	char why[1024];	    /* the text of ABORT */
	char backing[1024]; /* ... and of BACKING */
	bool backing_shared;
	struct fake_link links[FAKE_LINKS];
	unsigned int link_count;
	char lacks[1024];    /* what the user of this host was told, the latest */
	char states[256];    /* those that mail was asked for in, and how it ended */
	size_t taken;	     /* letters of the script */
	json_object *shown;  /* what the latest `dray status` got */
	int cancelled;	     /* what the latest `dray cancel` got */
	atomic_uint on, off; /* the capability, set so often */
	unsigned int qemu_stream_bytes;
	bool released_before_qemu_stream; /* in the record, as QEMU would find it */
	unsigned int inside;		  /* userfaultfds that stay inside QEMU */
	unsigned int dropped;		  /* ranges of its private memory */
	struct fake_libvirt *libvirt;

	/* private */
	const char *script;
	char path[64], socket[108];
	atomic_uint_least64_t now_us; /* a server's threads tell the time, too */
	uint64_t idle;
	bool lost, released;
	int source, guard_pipe, tunnel, libvirtd, fault_fd, qemu_stream, qemu_stream_fd;
	pthread_t qemu;
	struct fake_joining fault;
	struct slot *others[4];
	struct ram_map shape; /* of the source */
	void *qemu_ram;
	pthread_mutex_t lock; /* a server looks for guests while it serves others */
	/* under lock, also qemu_stream */
	struct fake_monitor monitors[FAKE_MONITORS];
	unsigned int monitor_count, monitors_ended;
	struct receiver *receiver;
	uint8_t session[WIRE_SESSION_SIZE];

	/* Ending a QEMU that has not run its guest. */
	int end_result;
	unsigned int ended; /* so many times */
};

static struct fake_destination *fake_here;

/* ---- QEMU's monitor ---- */

static inline bool fake_monitor_refuses(const struct fake_destination *d, const char *line)
{
	bool on = strstr(line, "true");

	return strstr(line, "x-ignore-shared") &&
	       d->failing == (on ? FAKE_STEP_CAPABILITY : FAKE_STEP_FORGET);
}

static inline void fake_monitor_answer(struct fake_destination *d, int fd, const char *line)
{
	const char *id = strstr(line, "\"id\":");
	char text[128];
	int len;

	if (d->failing == FAKE_STEP_SILENCE && strstr(line, "x-ignore-shared") &&
	    strstr(line, "false"))
		return;
	if (strstr(line, "x-ignore-shared") && !fake_monitor_refuses(d, line))
		atomic_fetch_add(strstr(line, "true") ? &d->on : &d->off, 1);
	len = snprintf(text, sizeof(text), "{\"%s\": %s, \"id\": %lu}\r\n",
		       fake_monitor_refuses(d, line) ? "error" : "return",
		       strstr(line, "human-monitor-command") ? "\"\"" : "{}",
		       id ? strtoul(id + 5, NULL, 10) : 0);
	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) < 0)
		return; /* the session has closed its end */
}

/* Each command is a line; returns how many bytes of an unfinished one are left. */
static inline size_t fake_monitor_lines(int fd, char *text)
{
	char *end;

	while ((end = strchr(text, '\n'))) {
		*end = 0;
		fake_monitor_answer(fake_here, fd, text);
		memmove(text, end + 1, strlen(end + 1) + 1);
	}
	return strlen(text);
}

static inline void *fake_monitor_main(void *arg)
{
	const char *greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";
	int fd = *(int *)arg;
	char text[1024];
	size_t used = 0;
	ssize_t n = send(fd, greeting, strlen(greeting), MSG_NOSIGNAL);

	while (n > 0 && (n = recv(fd, text + used, sizeof(text) - used - 1, 0)) > 0) {
		text[used + (size_t)n] = 0;
		used = fake_monitor_lines(fd, text);
	}
	return NULL;
}

static inline const char *fake_stream_path(const struct fake_destination *d)
{
	static char path[108];

	snprintf(path, sizeof(path), "%s/stream", d->path);
	return path;
}

/* Under lock: our end, or -1. */
static inline int fake_new_monitor(struct fake_destination *d)
{
	struct fake_monitor *m = &d->monitors[d->monitor_count];
	int pair[2];

	if (d->failing == FAKE_STEP_MONITOR || d->monitor_late) {
		d->monitor_late -= d->monitor_late > 0;
		return -1;
	}
	cr_assert_lt(d->monitor_count++, FAKE_MONITORS);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	m->fd = pair[1];
	if (d->qemu_stream < 0)
		cr_assert_eq(socket_unix_listen(fake_stream_path(d), 1, &d->qemu_stream, NULL), 0);
	cr_assert_eq(pthread_create(&m->thread, NULL, fake_monitor_main, &m->fd), 0);
	return pair[0];
}

static inline bool fake_is_qemu(pid_t pid, const char *uuid)
{
	(void)pid;
	return !fake_here->listens_for_it && strcmp(uuid, FAKE_UUID) == 0;
}

static inline int fake_open_monitor(const char *path, int timeout_ms, struct qmp **out,
				    struct errtext *err)
{
	struct fake_destination *d = fake_here;
	int fd;

	pthread_mutex_lock(&d->lock);
	fd = fake_new_monitor(d);
	pthread_mutex_unlock(&d->lock);
	return fd < 0 ? errtext_set(err, -ENOENT, "%s: no such file", path)
		      : qmp_adopt(fd, path, timeout_ms, out, err);
}

/* Those that there have been. */
static inline void fake_end_monitors(struct fake_destination *d)
{
	pthread_mutex_lock(&d->lock);
	for (; d->monitors_ended < d->monitor_count; d->monitors_ended++) {
		struct fake_monitor *m = &d->monitors[d->monitors_ended];

		shutdown(m->fd, SHUT_RDWR);
		pthread_join(m->thread, NULL);
		close(m->fd);
	}
	pthread_mutex_unlock(&d->lock);
}

/* ---- QEMU's memory ---- */

static inline int fake_find_ram(pid_t qemu, bool writable, const struct ram_backends *known,
				struct ram_map *ram, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	cr_assert_eq(!!known, d->strained || d->private_before);
	if (d->private_before) { /* by the record: QEMU's monitor is not asked */
		cr_assert_eq(known->count, 1);
		cr_assert_str_eq(known->item[0].name, "pc.ram");
		cr_assert_eq(known->item[0].size, FAKE_RAM_BYTES);
	}
	cr_assert_eq(qemu, getpid());
	cr_assert(writable);
	if (d->failing == FAKE_STEP_FIND_RAM)
		return errtext_set(err, -ENOTSUP, "no RAM, as the test wants it");
	if (d->private_here || d->private_before)
		guest_ram_add_private(ram, "pc.ram", FAKE_RAM_BYTES);
	else
		guest_ram_add(ram, d->failing == FAKE_STEP_OTHER_RAM ? "other.ram" : "pc.ram",
			      FAKE_RAM_BYTES, RAM_PAGE_SIZE);
	d->qemu_ram = (void *)(uintptr_t)ram->blocks[0].qemu_addr;
	return 0;
}

static inline int fake_userfaultfd(unsigned long long features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		cr_skip_test("no userfaultfd for missing shared memory: %s", strerror(errno));
	return fd;
}

static inline int fake_borrow_userfaultfd(pid_t qemu, unsigned long long features, bool keep_inside,
					  int *uffd, int *inside, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	cr_assert_eq(qemu, getpid());
	cr_assert(keep_inside);
	if (d->failing == FAKE_STEP_USERFAULTFD)
		return errtext_set(err, -EPERM, "no userfaultfd, as the test wants it");
	*uffd = fake_userfaultfd(features);
	*inside = 1000;
	d->inside++;
	return 0;
}

/* As whoever had it before us did. */
static inline void fake_register(int uffd, void *qemu_ram)
{
	struct uffdio_register range = {
		.range = {.start = (uintptr_t)qemu_ram, .len = FAKE_RAM_BYTES},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	cr_assert_eq(ioctl(uffd, UFFDIO_REGISTER, &range), 0, "%s", strerror(errno));
}

static inline int fake_find_userfaultfd(pid_t qemu, int *uffd, int *inside, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	cr_assert_eq(qemu, getpid());
	if (!d->inside)
		return errtext_set(err, -ENOENT, "QEMU has no userfaultfd");
	*uffd = fake_userfaultfd(MISSING_FEATURES);
	*inside = 1000;
	fake_register(*uffd, d->qemu_ram);
	return 0;
}

static inline int fake_close_userfaultfd(pid_t qemu, int inside, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	cr_assert_eq(qemu, getpid());
	cr_assert_eq(inside, 1000);
	if (d->failing == FAKE_STEP_CLOSE_INSIDE)
		return errtext_set(err, -EPERM, "not allowed, as the test wants it");
	if (d->failing == FAKE_STEP_QEMU_GONE)
		return errtext_set(err, -ESRCH, "QEMU has gone, as the test wants it");
	d->inside--;
	return 0;
}

/* As QEMU does it itself. */
static inline int fake_drop_memory(pid_t qemu, const struct iovec *ranges, unsigned int n,
				   struct errtext *err)
{
	struct fake_destination *d = fake_here;

	cr_assert_eq(qemu, getpid());
	(void)err;
	for (unsigned int i = 0; i < n; i++)
		cr_assert_eq(madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED), 0);
	d->dropped += n;
	return 0;
}

/* ---- this host ---- */

static inline int fake_join_queue(const char *dir, struct slot **out, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	(void)dir;
	if (d->failing == FAKE_STEP_QUEUE)
		return errtext_set(err, -EIO, "no queue, as the test wants it");
	return slot_join(d->path, out, err);
}

static inline void fake_paths(const struct fake_destination *d, struct guest_dir *dir)
{
	*dir = (struct guest_dir){.lock = -1};
	snprintf(dir->path, sizeof(dir->path), "%s", d->path);
	snprintf(dir->incoming_control, sizeof(dir->incoming_control), "%s/live", d->path);
	snprintf(dir->owed, sizeof(dir->owed), "%s/owed", d->path);
	snprintf(dir->stream, sizeof(dir->stream), "%s/stream", d->path);
	snprintf(dir->monitor, sizeof(dir->monitor), "%s/monitor", d->path);
}

static inline int fake_open_dir(struct guest_dir *dir, const char *uuid, uid_t uid, gid_t gid,
				struct errtext *err)
{
	struct fake_destination *d = fake_here;

	(void)uid;
	(void)gid;
	cr_assert_str_eq(uuid, FAKE_UUID);
	if (d->predecessor) {
		d->predecessor--;
		return errtext_set(err, -EBUSY, "locked by the attempt before");
	}
	if (d->failing == FAKE_STEP_DIR)
		return errtext_set(err, -EIO, "no directory, as the test wants it");
	if (d->locked)
		return errtext_set(err, -EBUSY, "locked, as the test wants it");
	fake_paths(d, dir);
	dir->lock = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static inline int fake_find_record(enum record_kind kind,
				   bool (*is)(const struct record *r, const void *what),
				   const void *what, struct guest_dir *dir, struct record *r,
				   struct errtext *err)
{
	struct fake_destination *d = fake_here;
	int ret;

	fake_paths(d, dir);
	ret = record_read(dir, kind, r, err);
	return ret == 0 && !is(r, what) ? -ENOENT : ret;
}

static inline int fake_start_guard(const char *uuid, const char *session,
				   const char *libvirt_socket, const struct ram_keep *ram, int *fd,
				   pid_t *pid, struct errtext *err)
{
	struct fake_destination *d = fake_here;
	char number[2 * WIRE_SESSION_SIZE + 1];
	int ends[2];

	record_session(d->session, number);
	cr_assert_str_eq(uuid, FAKE_UUID);
	cr_assert_str_eq(session, number);
	cr_assert_str_eq(libvirt_socket, d->socket);
	cr_assert_null(ram);
	cr_assert_null(pid);
	if (d->failing == FAKE_STEP_GUARD)
		return errtext_set(err, -EAGAIN, "no guard, as the test wants it");
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	d->guard_pipe = ends[0];
	*fd = ends[1];
	return 0;
}

/* The guest's QEMU is this process, which is not to be ended. */
static inline int fake_end_unless_resumed(pid_t qemu, uint64_t started, const char *monitor_path,
					  bool released, struct errtext *err)
{
	struct fake_destination *d = fake_here;

	(void)released;

	(void)started;
	cr_expect_gt(qemu, 0);
	cr_expect_str_not_empty(monitor_path);
	d->ended += d->end_result == 0;
	if (d->end_result == 0)
		fake_libvirt_kill(d->libvirt, FAKE_UUID);
	return d->end_result < 0 ? errtext_set(err, d->end_result, "as the test wants it") : 0;
}

static inline uint64_t fake_now_us(void)
{
	return fake_here->now_us;
}

static inline void fake_pause(uint64_t for_us)
{
	fake_here->now_us += for_us;
}

/* ---- what happens ---- */

static inline void fake_message(struct mail *mail, enum wire_type type)
{
	mail->kind = MAIL_MESSAGE;
	mail->message = (struct wire_message){.type = type};
}

/* Records written from now on are lost. */
static inline void fake_break_record(struct fake_destination *d)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/incoming.new", d->path);
	cr_assert_eq(mkdir(path, 0700), 0);
}

static inline void fake_leave_queue(struct fake_destination *d)
{
	cr_assert_gt(d->ahead, 0);
	slot_leave(d->others[--d->ahead]);
}

static inline void fake_link_comes(struct fake_destination *d, bool tell_owed)
{
	struct wire_hello hello = {.kind = WIRE_KIND_LINK, .index = tell_owed};
	const struct door_terms terms = {0};
	struct errtext err = {0};

	cr_assert_lt(d->link_count, FAKE_LINKS);
	memcpy(hello.session, d->session, sizeof(hello.session));
	cr_assert_eq(incoming_join(d->receiver,
				   line_plain(fake_link_open(&d->links[d->link_count++])), &hello,
				   &terms, &err),
		     0, "%s", err.text);
}

/* QEMU's end: does the record say, when the byte comes, that the guest was released? */
static inline void *fake_qemu_main(void *arg)
{
	struct fake_destination *d = arg;
	struct guest_dir dir = {0};
	struct record r;
	uint8_t byte;
	int fd = accept4(d->qemu_stream, NULL, NULL, SOCK_CLOEXEC);

	snprintf(dir.path, sizeof(dir.path), "%s", d->path);
	if (recv(fd, &byte, 1, 0) == 1) {
		d->qemu_stream_bytes++;
		d->released_before_qemu_stream =
			record_read(&dir, RECORD_INCOMING, &r, NULL) == 0 && r.released;
		record_destroy(&r);
	}
	close(fd);
	return NULL;
}

static inline void fake_qemu_stream_comes(struct fake_destination *d)
{
	struct fake_joining j;
	int fd = fake_join(&j, d->receiver, d->session, WIRE_KIND_QEMU_STREAM);

	pthread_join(j.thread, NULL);
	cr_assert_eq(j.result, 0, "%s", j.err.text);
	cr_assert_eq(pthread_create(&d->qemu, NULL, fake_qemu_main, d), 0);
	cr_assert_eq(send(fd, "Q", 1, 0), 1);
	d->qemu_stream_fd = fd;
}

static inline void fake_qemu_has_it(struct fake_destination *d)
{
	pthread_join(d->qemu, NULL);
	cleanup_close(&d->qemu_stream_fd);
	d->qemu_stream_fd = -1;
}

/* By a thread of the session's, which nobody waits for. */
static inline void fake_capability_is_off(struct fake_destination *d)
{
	uint64_t end = clock_monotonic_us() + 20000000;

	while (!atomic_load(&d->off) && clock_monotonic_us() < end)
		usleep(1000);
	cr_assert(atomic_load(&d->off), "script %s: x-ignore-shared stays on", d->script);
}

/* libvirtd's end stays open until the session closes ours. */
static inline void fake_tunnel_comes(struct fake_destination *d)
{
	struct fake_joining j;
	int fd = fake_join(&j, d->receiver, d->session, WIRE_KIND_TUNNEL);

	pthread_join(j.thread, NULL);
	cr_assert_eq(j.result, 0, "%s", j.err.text);
	d->tunnel = fd;
}

/* The same. */
static inline void fake_balloon_moves(struct fake_destination *d)
{
	static const char event[] =
		"{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": "
		"\"BALLOON_CHANGE\", \"data\": {\"actual\": 1}}\r\n";
	uint64_t end = clock_monotonic_us() + 20000000;
	const struct incoming *in = d->receiver->sessions;

	cr_assert_gt(send(d->monitors[0].fd, event, strlen(event), MSG_NOSIGNAL), 0);
	while (!atomic_load(&in->monitor.balloon_moved) && clock_monotonic_us() < end)
		usleep(1000);
	cr_assert(atomic_load(&in->monitor.balloon_moved));
}

static inline bool fake_connect(struct fake_destination *d, char letter)
{
	switch (letter) {
	case 'B':
		fake_balloon_moves(d);
		return true;
	case 'r':
		fake_stream(d->receiver, d->session, WIRE_KIND_RAM, WIRE_FRAME_PAGES);
		return true;
	case 's':
		fake_stream(d->receiver, d->session, WIRE_KIND_RAM, WIRE_FRAME_STALE);
		return true;
	case 'p':
		fake_stream(d->receiver, d->session, WIRE_KIND_PUSH, WIRE_FRAME_PAGES);
		return true;
	case 'f':
		cr_assert_lt(d->fault_fd, 0);
		d->fault_fd =
			fake_fault(&d->fault, d->receiver, d->session, &d->shape, d->qemu_ram);
		return true;
	case 'l':
	case 'o':
		fake_link_comes(d, letter == 'o');
		return true;
	case 't':
		fake_tunnel_comes(d);
		return true;
	case 'u':
		fake_qemu_stream_comes(d);
		return true;
	case 'w':
		fake_qemu_has_it(d);
		return true;
	case 'b':
		fake_capability_is_off(d);
		return true;
	default:
		return false;
	}
}

/* By the control socket, as another process would. */
static inline int fake_live_call(struct fake_destination *d, const char *command,
				 json_object **reply)
{
	json_object *request = json_object_new_object();
	char path[96];
	int ret;

	snprintf(path, sizeof(path), "%s/live", d->path);
	json_object_object_add(request, "command", json_object_new_string(command));
	ret = live_call(path, request, reply, 5000, NULL);
	json_object_put(request);
	return ret;
}

static inline void fake_look(struct fake_destination *d)
{
	json_object *reply = NULL, *status = NULL;

	cr_assert_eq(fake_live_call(d, "status", &reply), 0);
	json_object_object_get_ex(reply, "status", &status);
	json_object_put(d->shown);
	d->shown = json_object_get(status);
	json_object_put(reply);
}

static inline bool fake_cancel(struct fake_destination *d)
{
	json_object *reply = NULL;

	d->cancelled = fake_live_call(d, "cancel", &reply);
	json_object_put(reply);
	return d->cancelled == 0;
}

static inline void fake_happen(struct fake_destination *d, char letter, struct mail *mail)
{
	static const char letters[] = "LVDRFAX";
	static const enum wire_type types[] = {WIRE_LISTEN,  WIRE_LISTEN, WIRE_DIGEST_REQUEST,
					       WIRE_RELEASE, WIRE_FINISH, WIRE_ABORT,
					       WIRE_PREPARED};
	const char *message = strchr(letters, letter);

	if (letter == 'R' && d->failing == FAKE_STEP_RECORD && !d->released)
		fake_break_record(d);
	d->released |= letter == 'R';
	if (message) {
		fake_message(mail, types[message - letters]);
		if (letter == 'X' && d->odd)
			mail->message.type = d->odd;
		if (letter == 'V')
			mail->message.listen.prove = true;
		if (letter == 'A')
			mail->message.abort.text = strdup("enough");
		return;
	}
	if (letter == 'i')
		fake_look(d);
	mail->kind = letter == 'C'		       ? MAIL_CONTROL_LOST
		     : letter == 'c' && fake_cancel(d) ? MAIL_CANCEL
		     : letter == 'S'		       ? MAIL_STREAM_LOST
		     : letter == 'K'		       ? MAIL_COMPLETE
		     : strchr("EGM", letter)	       ? MAIL_QEMU_EVENT
						       : MAIL_NONE;
	mail->event = letter == 'E'   ? QEMU_EVENT_RESUME
		      : letter == 'M' ? QEMU_EVENT_COMPLETED
				      : QEMU_EVENT_GONE;
	mail->a = 1000;
	mail->result = -ECONNRESET;
	mail->text = letter == 'C' ? "no answer" : "a stream broke";
	d->lost |= letter == 'C';
	if (letter == 'q')
		fake_leave_queue(d);
	if (letter == 'c')
		mail->text = "cancelled there";
}

static inline void fake_note_state(struct fake_destination *d, enum incoming_state state)
{
	const char *name = incoming_state_name(state), *last = strrchr(d->states, ' ');

	if (strcmp(last ? last + 1 : d->states, name) != 0)
		strcat(strcat(d->states, d->states[0] ? " " : ""), name);
}

/* After the script the source is lost, and at last all pages come. */
static inline char fake_next(struct fake_destination *d)
{
	if (d->script[d->taken])
		return d->script[d->taken++];
	if (d->patient)
		return '.';
	if (!d->lost)
		return 'C';
	d->idle++;
	if (d->idle > FAKE_IDLE_MAX)
		cr_assert_fail("the session hangs: script %s", d->script);
	return d->idle == 1 || d->idle == 100 ? 'K' : '.';
}

/* What comes of it is in the real mailbox, which nobody else reads. */
static inline void fake_source_gives_up(struct fake_destination *d, struct mailbox *m,
					struct mail *mail)
{
	cr_assert_gt(d->link_count, 0);
	fake_link_give_up(d->links[d->link_count - 1].fd, "page 7 of pc.ram cannot be read");
	do {
		mailbox_take(m, clock_monotonic_us() + 20000000, mail);
		wire_message_destroy(&mail->message);
		cr_assert_neq(mail->kind, MAIL_NONE, "script %s: ABORT is not heard", d->script);
	} while (mail->kind != MAIL_GIVEN_UP);
}

static inline void fake_take_mail(struct mailbox *m, uint64_t deadline_us, struct mail *mail)
{
	struct fake_destination *d = fake_here;
	char letter;

	/* What real threads post into the mailbox would come at any time. */
	*mail = (struct mail){.kind = MAIL_NONE};
	if (d->receiver->sessions) /* else it is a server's (test_server.c) */
		fake_note_state(d, d->receiver->sessions->state);
	do
		letter = fake_next(d);
	while (fake_connect(d, letter));
	if (letter == 'g')
		fake_source_gives_up(d, m, mail);
	else
		fake_happen(d, letter, mail);
	if (mail->kind == MAIL_NONE && deadline_us > d->now_us)
		d->now_us = deadline_us;
}

static inline int fake_look_at_memory_dir(const char *socket_path, bool own, struct memory_dir *out,
					  struct errtext *err)
{
	(void)own;
	*out = fake_here->memory_dir;
	return out->path[0] ? 0 : errtext_set(err, -ENOENT, "%s: nobody knows", socket_path);
}

static inline void fake_look_at_memory(const char *daemon, struct host_memory *out)
{
	struct fake_destination *d = fake_here;

	d->memory_of_daemon = daemon != NULL;
	*out = (struct host_memory){.free = d->memory_free ? d->memory_free : UINT64_MAX,
				    .where = "this host"};
}

static const struct incoming_world fake_world = {
	.open_host = host_open,
	.look_at_memory_dir = fake_look_at_memory_dir,
	.look_at_memory = fake_look_at_memory,
	.join_queue = fake_join_queue,
	.open_dir = fake_open_dir,
	.find_record = fake_find_record,
	.start_guard = fake_start_guard,
	.open_monitor = fake_open_monitor,
	.is_qemu = fake_is_qemu,
	.find_ram = fake_find_ram,
	.borrow_userfaultfd = fake_borrow_userfaultfd,
	.find_userfaultfd = fake_find_userfaultfd,
	.close_userfaultfd = fake_close_userfaultfd,
	.drop_memory = fake_drop_memory,
	.end_unless_resumed = fake_end_unless_resumed,
	.now_us = fake_now_us,
	.pause = fake_pause,
	.take_mail = fake_take_mail,
};

/* ---- running it ---- */

static inline void fake_waiting(void *opaque, const char *domain, const char *text)
{
	struct fake_destination *d = opaque;

	snprintf(d->lacks, sizeof(d->lacks), "%s: %s", domain, text);
}

static inline struct fake_destination *fake_destination_new(void)
{
	struct fake_destination *d = calloc(1, sizeof(*d));
	struct receiver_options options = {
		.max_inbound = 2, .port = 7470, .tls_dir = "", .world = &fake_world};
	struct ram_block block = {
		.name = "pc.ram", .size = FAKE_RAM_BYTES, .page_size = RAM_PAGE_SIZE, .fd = -1};

	cr_assert_not_null(d);
	pthread_mutex_init(&d->lock, NULL);
	d->now_us = 1000000;
	d->source = d->guard_pipe = d->tunnel = d->fault_fd = -1;
	d->qemu_stream = d->qemu_stream_fd = -1;
	d->libvirt_says = DOMAIN_INCOMING;
	strcpy(d->path, "/tmp/dray-test.XXXXXX");
	cr_assert_not_null(mkdtemp(d->path));
	snprintf(d->socket, sizeof(d->socket), "%s/libvirt", d->path);
	d->libvirt = fake_libvirt_new(d->socket);
	cr_assert_eq(socket_unix_listen(d->socket, 4, &d->libvirtd, NULL), 0);
	memset(d->session, 7, sizeof(d->session));
	cr_assert_eq(ram_map_add(&d->shape, &block, NULL), 0);
	options.libvirt_socket = d->socket;
	options.bind = "";
	options.waiting = fake_waiting;
	options.opaque = d;
	cr_assert_eq(receiver_new(&options, &d->receiver), 0);
	fake_here = d;
	return d;
}

/* A directory, and what is in it. */
static inline void fake_remove(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	cr_assert_not_null(dir);
	while ((entry = readdir(dir)))
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	closedir(dir);
	cr_assert_eq(rmdir(path), 0);
}

static inline void fake_destination_destroy(struct fake_destination *d)
{
	fake_end_monitors(d); /* of a server's sessions */
	for (unsigned int i = 0; i < d->ahead; i++)
		slot_leave(d->others[i]);
	cleanup_close(&d->libvirtd);
	fake_libvirt_destroy(d->libvirt);
	record_destroy(&d->record);
	ram_map_destroy(&d->shape);
	if (d->qemu_ram)
		munmap(d->qemu_ram, FAKE_RAM_BYTES);
	fake_remove(d->path);
	free(d->receiver);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static inline void fake_send(int fd, const struct wire_message *m)
{
	uint8_t buf[4096];
	long len = wire_message_encode(m, buf, sizeof(buf));

	cr_assert_gt(len, 0);
	cr_assert_eq(socket_write_full(fd, buf, (size_t)len, 1000), 0);
}

static inline void fake_prepare(const struct fake_destination *d, int fd)
{
	struct wire_message m = {.type = WIRE_PREPARE,
				 .prepare = {.name = "web",
					     .streams = 1,
					     .silence_ms = WIRE_SILENCE_MAX_MS,
					     .running = !d->paused,
					     .autostart = d->autostart,
					     .strained = d->strained,
					     .trial = d->trial,
					     .ram = d->shape}};

	cr_assert_eq(uuid_parse(FAKE_UUID, m.prepare.uuid), 0);
	fake_send(fd, &m);
}

/* What libvirt will say. The first look is the session's own: is the guest here already? */
static inline void fake_domain_of(struct fake_destination *d, enum domain_state first)
{
	struct fake_domain *domain = fake_libvirt_add(d->libvirt, "web", FAKE_UUID, first);

	domain->info.persistent = d->libvirt_says == DOMAIN_SHUT_OFF || d->defined_before;
	if (d->libvirt_hesitates)
		fake_domain_then(domain, 2, DOMAIN_INCOMING);
	fake_domain_then(domain, 2 + d->libvirt_hesitates, d->libvirt_says);
	for (unsigned int i = 2; d->libvirt_is_silent && i < 10; i++)
		fake_libvirt_fail(d->libvirt, FAKE_STATE, i, -EIO);
}

static inline void fake_read_sent(struct fake_destination *d)
{
	struct errtext err = {0};
	struct wire_message m;

	shutdown(d->source, SHUT_WR);
	while (control_read_one(line_plain(d->source), 1000, &m, &err) == 0) {
		if (m.type != WIRE_PING) {
			strcat(strcat(d->sent, d->sent[0] ? " " : ""), wire_type_name(m.type));
			if (m.type == WIRE_ABORT)
				strcpy(d->why, m.abort.text);
			if (m.type == WIRE_BACKING) {
				strcpy(d->backing, m.backing.text);
				d->backing_shared = m.backing.shared;
			}
		}
		wire_message_destroy(&m);
	}
	close(d->source);
}

static inline void fake_read_guard(struct fake_destination *d)
{
	char text[8];
	ssize_t len;

	if (d->guard_pipe < 0)
		return;
	len = read(d->guard_pipe, text, sizeof(text));
	cr_assert(len == 0 || (len == 4 && memcmp(text, "done", 4) == 0));
	d->guard = len ? FAKE_GUARD_DONE : FAKE_GUARD_LEFT;
	close(d->guard_pipe);
}

static inline void fake_end_connections(struct fake_destination *d)
{
	for (unsigned int i = 0; i < d->link_count; i++)
		pthread_join(d->links[i].thread, NULL);
	if (d->fault_fd >= 0)
		pthread_join(d->fault.thread, NULL);
	cleanup_close(&d->fault_fd);
	if (d->qemu_stream_fd >= 0)
		fake_qemu_has_it(d);
	cleanup_close(&d->qemu_stream);
	cleanup_close(&d->tunnel);
	fake_end_monitors(d);
}

static inline void fake_read_record(struct fake_destination *d)
{
	struct guest_dir dir = {0};

	snprintf(dir.path, sizeof(dir.path), "%s", d->path);
	d->recorded = record_read(&dir, RECORD_INCOMING, &d->record, NULL) == 0;
}

static inline void fake_destination_run(struct fake_destination *d, const char *script)
{
	struct wire_hello hello = {.kind = WIRE_KIND_CONTROL};
	const struct door_terms terms = {.features = d->features};
	int pair[2];

	d->script = script;
	for (unsigned int i = 0; i < d->ahead; i++)
		cr_assert_eq(slot_join(d->path, &d->others[i], NULL), 0);
	fake_domain_of(d, d->defined_before ? DOMAIN_SHUT_OFF : DOMAIN_ABSENT);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	d->source = pair[1];
	fake_prepare(d, d->source);
	memcpy(hello.session, d->session, sizeof(hello.session));
	incoming_serve(d->receiver, line_plain(pair[0]), &hello, &terms, &d->result);
	fake_note_state(d, d->result.arrived   ? INCOMING_ARRIVED
			   : d->result.unknown ? INCOMING_UNKNOWN
					       : INCOMING_UNDONE);
	fake_end_connections(d);
	fake_read_sent(d);
	fake_read_guard(d);
	fake_read_record(d);
}

/* ---- a session that another process began ---- */

/* What it left behind, complete or not as `left` says; the page is owed. */
static inline void fake_destination_leave(struct fake_destination *d, const struct record *left)
{
	struct guest_dir dir = {0};
	struct record record = *left;
	struct ram_map ram = {0};
	struct owed *owed;

	cr_assert_eq(fake_open_dir(&dir, FAKE_UUID, 0, 0, NULL), 0);
	strcpy(record.domain, "web");
	strcpy(record.uuid, FAKE_UUID);
	if (!record.session[0])
		record_session(d->session, record.session);
	if (!record.qemu_started)
		cr_assert_eq(process_started(getpid(), &record.qemu_started, NULL), 0);
	record.qemu = getpid();
	if (d->private_before)
		guest_ram_add_private(&ram, "pc.ram", FAKE_RAM_BYTES);
	else
		guest_ram_add(&ram, "pc.ram", FAKE_RAM_BYTES, RAM_PAGE_SIZE);
	if (d->private_before)
		cr_assert_eq(ram_keep_describe(&ram, &record.ram, NULL), 0);
	cr_assert_eq(record_write(&dir, RECORD_INCOMING, &record, NULL), 0);
	ram_keep_destroy(&record.ram);
	cr_assert_eq(owed_create(dir.owed, &ram, &owed, NULL), 0);
	owed_set(owed, 0, FAKE_PAGE, !d->all_has_come);
	owed_seal(owed);
	owed_close(owed);
	guest_ram_destroy(&ram);
	guest_dir_close(&dir);
	d->inside = !d->nothing_inside;
}

/* Its source comes with a page link: what incoming_carry_on returned. */
static inline int fake_destination_carry_on(struct fake_destination *d, const char *script)
{
	struct wire_hello hello = {.kind = WIRE_KIND_LINK, .index = 1};
	const struct door_terms terms = {0};
	int ret;

	d->script = script;
	memcpy(hello.session, d->session, sizeof(hello.session));
	fake_domain_of(d, d->libvirt_said);
	ret = incoming_carry_on(d->receiver, line_plain(fake_link_open(&d->links[d->link_count++])),
				&hello, &terms, &d->result);
	fake_end_connections(d);
	fake_read_guard(d);
	fake_read_record(d);
	return ret;
}
