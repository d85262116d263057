// SPDX-License-Identifier: Apache-2.0
// dray's wire protocol, version 2. The only home of byte order: everything is little-endian.
//
// One TCP port on the destination. Every connection opens with a hello from the source, which
// says what the connection is for; the destination answers with a hello reply, or a refusal.
//
//   source                                            destination
//     | -- hello(control) ------------------------------> |  versions, features, session
//     | <------------------------------- hello reply ---- |  version chosen, host UUID, boot
//     | -- PREPARE: domain, RAM blocks -----------------> |
//     | <----------- QUEUED(ahead), until it has a turn -- |
//     | <-- BACKING, of a strained guest: shared files? -- |
//     | <------- PREPARED: monitor and stream sockets --- |
//     | == hello(tunnel): libvirt's RPC, raw bytes =====> |  libvirt starts the guest's QEMU there
//     | == hello(ram i), i = 0..streams-1: RAM frames ==> |
//     | <------------------------------------- READY ---- |  attached, RAM blocks match
//     | == RAM frames, SYNC(round) on each stream ======> |
//     | <------------------- SYNCED(stream, round) ------ |
//     |   ... rounds ...                                  |
//     | == hello(QEMU stream), held there ==============> |
//     |   guest stops; last round                         |
//     | -- DIGEST? (with --verify) ---------------------> |
//     | <------------------------------------ DIGEST ---- |
//     | -- RELEASE -------------------------------------> |  the hand-over
//     | <---------------- RELEASED, ARRIVAL, RESUMED ---- |
//     | -- FINISH --------------------------------------> |
//     | <---------------------------------- FINISHED ---- |
//
// Post-copy: instead of sending the last pages the source names them (STALE frames, in rounds while
// the guest runs and one when it has stopped) and the destination makes them missing. Connections
// of their own carry the pages; when they break the source makes new ones, for as long as it takes.
//
//     | -- LISTEN --------------------------------------> |  userfaultfd, owed set
//     | <----------------------- LISTENING (or why not) -- |
//     | == hello(link), hello(fault i), hello(push i) ==> |  before the stop
//     | == STALE frames, SYNC(round) on the RAM streams => |
//     |   guest stops; last STALE round; RELEASE, as above |
//     | <------------------------ fault i: page request -- |
//     | == fault i: one PAGES or ZERO frame, and guesses => |
//     | == push i: PAGES, ZERO, at last SYNC ============> |
//     | <---- link: WAITING, while there is no room there |
//     | <--- link: PROOF for each piece, if it was wanted - |
//     | -- link: PROVEN for each ------------------------> |
//     | <-------------------------- link: COMPLETE ------- |
//     | -- link: FINISH --------------------------------> |
//
//     | == hello(link, 1) after a broken connection =====> |
//     | <-------------------- link: OWED..., OWED_END ---- |
//     | == hello(fault i), hello(push i) ================> |
//
// PING/PONG go both ways at any time after PREPARE; a side that hears nothing for the agreed
// silence gives up. ABORT, with a text, may come from either side at any time before RELEASE.
// A hello(recover) connection carries only QUERY, DISCARD and STATE. A question names the guest,
// the host that the guest went to and the migration by which it went; who is another host, or knows
// nothing of that migration, says so (STATE, UNKNOWN), which is no answer. So a host that has got
// another's address, or that has forgotten, decides nothing.
//
// A session's number is random, and means one migration on all hosts for ever: a control connection
// with a number that the destination has seen is refused. The host UUID and the boot of the first
// reply are the session's: a connection that comes to another host, or to a host that was started
// again since, is not one of that session's.
//
// Version policy: each side names the lowest and highest version it speaks; the highest common
// one is used. Feature bits are the intersection. Reserved fields are sent as zero and ignored.
// Frames of unknown type are an error: a sender uses only what was agreed.
//
// Decoders take any bytes and never read outside [buf, buf + len). They return -EPROTO with a
// text for what is malformed or beyond a limit. Names and paths hold no control characters.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cleanup.h"
#include "errtext.h"
#include "ram_map.h"

#define WIRE_MAGIC 0x59415244u /* "DRAY" */
#define WIRE_VERSION_MIN 2
#define WIRE_VERSION_MAX 2
#define WIRE_PORT 7470 /* default TCP port of dray receive */

#define WIRE_STREAMS_MAX 64
#define WIRE_TEXT_MAX 1023 /* bytes in an error text or path, without NUL */
#define WIRE_SILENCE_MAX_MS 3600000u
#define WIRE_NAME_MAX 255 /* bytes in a domain name, without NUL */

/* Feature bits: a bit stands for a thing that both must know. */
#define WIRE_FEATURE_BACKING (1ull << 0) /* BACKING is said; private memory may stay private */
#define WIRE_FEATURE_ARRIVAL (1ull << 1) /* ARRIVAL is said */
#define WIRE_FEATURE_ZSTD (1ull << 2)	 /* ZSTD frames come on RAM streams */
#define WIRE_FEATURES (WIRE_FEATURE_BACKING | WIRE_FEATURE_ARRIVAL | WIRE_FEATURE_ZSTD)

/* ---- hello ---- */

enum wire_kind {
	WIRE_KIND_CONTROL = 1,
	WIRE_KIND_RAM = 2,	   /* index = stream number */
	WIRE_KIND_TUNNEL = 3,	   /* raw bytes to and from the destination's libvirt socket */
	WIRE_KIND_QEMU_STREAM = 4, /* raw bytes of QEMU's own migration stream */
	WIRE_KIND_RECOVER = 5,
	WIRE_KIND_FAULT = 6, /* index = number: page requests one way, their RAM frames the other */
	WIRE_KIND_PUSH = 7,  /* index = number: RAM frames that nobody asked for, in post-copy */
	WIRE_KIND_LINK = 8,  /* post-copy's control channel; index 1: tell me what you are owed */
	WIRE_KIND_LAST_ = WIRE_KIND_LINK,
};

#define WIRE_SESSION_SIZE 16
#define WIRE_UUID_SIZE 16

struct wire_hello {
	uint16_t version_min, version_max;
	uint64_t features;
	uint8_t session[WIRE_SESSION_SIZE]; /* random; ties a migration's connections together */
	enum wire_kind kind;
	uint16_t index;
};

struct wire_hello_reply {
	uint16_t version;		   /* chosen; 0: refused, text says why */
	uint16_t version_min, version_max; /* what the destination speaks */
	uint64_t features;		   /* intersection */
	uint8_t host_uuid[WIRE_UUID_SIZE]; /* of the destination's libvirt */
	uint8_t boot_id[WIRE_UUID_SIZE];   /* random; another one each time the host starts */
	char text[WIRE_TEXT_MAX + 1];	   /* refusal, NUL-terminated */
};

#define WIRE_HELLO_SIZE 64
#define WIRE_HELLO_REPLY_SIZE 64 /* followed by text_len bytes of text */

void wire_hello_encode(const struct wire_hello *h, uint8_t buf[WIRE_HELLO_SIZE]);
int wire_hello_decode(const uint8_t buf[WIRE_HELLO_SIZE], struct wire_hello *h,
		      struct errtext *err);
/* Returns the number of bytes written: WIRE_HELLO_REPLY_SIZE plus the text. */
size_t wire_hello_reply_encode(const struct wire_hello_reply *r,
			       uint8_t buf[WIRE_HELLO_REPLY_SIZE + WIRE_TEXT_MAX]);
/* Decodes the fixed part; *text_len (<= WIRE_TEXT_MAX) more bytes of text follow on the wire,
 * which the caller puts into r->text and terminates. */
int wire_hello_reply_decode(const uint8_t buf[WIRE_HELLO_REPLY_SIZE], struct wire_hello_reply *r,
			    size_t *text_len, struct errtext *err);
/* The highest version in both ranges, or 0 if they do not meet. */
uint16_t wire_version_choose(uint16_t min_a, uint16_t max_a, uint16_t min_b, uint16_t max_b);

#define WIRE_RUN_PAGES_MAX 65535u

/* Pages of a RAM block, in frames and messages. */
struct wire_run {
	uint64_t first; /* page number in its block, < 2^48 */
	uint32_t count; /* 1..WIRE_RUN_PAGES_MAX */
};

/* ---- control messages ---- */

enum wire_type {
	WIRE_PREPARE = 1,
	WIRE_PREPARED,
	WIRE_READY, /* no body */
	WIRE_SYNCED,
	WIRE_PING,
	WIRE_PONG,
	WIRE_DIGEST_REQUEST, /* no body */
	WIRE_DIGEST,
	WIRE_RELEASE,  /* no body */
	WIRE_RELEASED, /* no body */
	WIRE_RESUMED,
	WIRE_FINISH,   /* no body */
	WIRE_FINISHED, /* no body */
	WIRE_ABORT,
	WIRE_QUERY,
	WIRE_DISCARD,
	WIRE_STATE,
	WIRE_QUEUED,
	WIRE_LISTEN,
	WIRE_LISTENING,
	WIRE_OWED,
	WIRE_OWED_END, /* no body */
	WIRE_COMPLETE,
	WIRE_PROOF,
	WIRE_PROVEN,
	WIRE_WAITING,
	WIRE_BACKING,
	WIRE_ARRIVAL,
	WIRE_TYPE_END_
};

/* Names for messages and logs, "?" for unknown. */
const char *wire_type_name(unsigned int type);

#define WIRE_HEADER_SIZE 8
#define WIRE_BODY_MAX (64u * 1024)

struct wire_prepare {
	char name[WIRE_NAME_MAX + 1];
	uint8_t uuid[WIRE_UUID_SIZE];
	uint16_t streams;    /* 1..WIRE_STREAMS_MAX */
	uint32_t silence_ms; /* give up after hearing nothing for so long */
	bool running;	     /* the guest runs (a RESUME will come), or was paused already */
	bool autostart;	     /* libvirt starts it whenever its host starts */
	bool strained; /* QEMU's stream carries the RAM to a strainer at the source: QEMU is not
			* to leave shared RAM out of it */
	bool trial;    /* only to see whether it would be taken in: it will be called off */
	struct ram_map ram; /* names, sizes, page sizes, bytes allocated; owned:
			     * wire_message_destroy */
};

struct wire_prepared {
	const char *monitor_path; /* where QEMU shall open its private monitor */
	const char *stream_path;  /* where QEMU shall listen for its own stream */
};

struct wire_digest {
	uint16_t count; /* RAM blocks */
	uint8_t digest[RAM_BLOCKS_MAX][16];
};

/* What an ABORT means for the next attempt. */
enum wire_abort {
	WIRE_ABORT_FAILED,    /* something broke */
	WIRE_ABORT_REFUSED,   /* it would be refused again: nothing was touched */
	WIRE_ABORT_CANCELLED, /* somebody asked for it */
	WIRE_ABORT_END_
};

/* What a destination knows of a guest. */
enum wire_state {
	WIRE_STATE_ABSENT = 1, /* no such guest is active here, nor will it become so */
	WIRE_STATE_INCOMING,   /* an incoming migration, not (yet) running */
	WIRE_STATE_RUNNING,    /* it lives here (running, or paused by its user) */
	WIRE_STATE_ENDED,      /* it ran here, and has ended since */
	WIRE_STATE_UNKNOWN,    /* no answer: the text says why none can be given */
	WIRE_STATE_END_
};

/* Whom a question is about, and who may answer it. */
struct wire_query {
	uint8_t uuid[WIRE_UUID_SIZE];	    /* of the guest */
	uint8_t host_uuid[WIRE_UUID_SIZE];  /* of the destination's libvirt, as it was */
	uint8_t session[WIRE_SESSION_SIZE]; /* of the migration by which the guest went there */
};

/* How long the destination took, from RELEASE on, in microseconds. */
struct wire_arrival {
	uint64_t release_us; /* until QEMU's stream was let go */
	uint64_t load_us;    /* from there until QEMU had loaded it; 0: not known */
	uint64_t finish_us;  /* from there until the guest ran, which libvirt brings about */
	uint64_t told_us;    /* from there until this was said */
};

#define WIRE_OWED_RUNS_MAX 256

/* Pages of a block that the destination does not have yet. */
struct wire_owed {
	uint16_t block;
	uint16_t count; /* 1..WIRE_OWED_RUNS_MAX */
	struct wire_run run[WIRE_OWED_RUNS_MAX];
};

/* What the destination says of a post-copy that is over. Times in microseconds, pages of 4 KiB. */
struct wire_complete {
	uint64_t faults, fault_p50_us, fault_p99_us, fault_max_us;
	uint64_t pages_fault, pages_push, pages_prefetch, holes;
	uint64_t duration_us; /* since the release */
	bool balloon_still;   /* for certain: the guest's balloon has not moved there */
};

#define WIRE_PROOF_PAGES_MAX 4096u /* in one piece: 16 MiB */

/* A piece of the destination's memory, in post-copy: a hash of each page (XXH3-64), and which the
 * guest has written since: proof.h. */
struct wire_proof {
	uint16_t block;
	uint64_t first; /* page */
	uint32_t count; /* 1..WIRE_PROOF_PAGES_MAX */
	uint64_t hash[WIRE_PROOF_PAGES_MAX];
	uint8_t written[WIRE_PROOF_PAGES_MAX / 8]; /* bit i % 8 of byte i / 8: page first + i */
};

/* Small, so that it can be a local variable and wait in a queue: what is large lies behind a
 * pointer. A decoded message owns what it points to, and has no NULL. The encoder only reads, so
 * whoever sends may point to things of its own, and does not destroy the message then; for a text
 * NULL means an empty one. */
struct wire_message {
	enum wire_type type;
	union {
		struct wire_prepare prepare;
		struct wire_prepared prepared;
		struct {
			uint16_t stream;
			uint32_t round;
		} synced;
		struct {
			uint64_t sent_us;
			uint64_t peer_us;
		} ping; /* PING and PONG; CLOCK_REALTIME;
			 * PONG repeats sent_us and
			 * adds its own time */
		struct {
			bool shared;	  /* there is room for the guest's memory in files that can
					   * be tracked */
			const char *text; /* where; or why not */
		} backing;
		const struct wire_digest *digest;
		struct {
			uint32_t ahead; /* migrations to come in before this one */
		} queued;
		struct {
			bool prove; /* note what the guest writes: a proof is wanted */
		} listen;
		struct {
			const char *text; /* why not; empty: it is ready */
		} listening;
		const struct wire_owed *owed;
		struct wire_complete complete;
		const struct wire_proof *proof;
		struct {
			uint64_t equal, unequal; /* pages so far: proof.h */
		} proven;
		struct {
			uint64_t time_us;
		} resumed; /* RESUME event, CLOCK_REALTIME there */
		struct wire_arrival arrival;
		struct {
			const char *text;
			enum wire_abort why;
		} abort;		 /* WAITING, too: what for */
		struct wire_query query; /* QUERY and DISCARD */
		struct {
			enum wire_state state;
			const char *text;
		} state;
	};
};

_Static_assert(sizeof(struct wire_message) <= 320, "a message is small");

/* Encode header and body into buf. Returns bytes written, -EMSGSIZE if size is too small
 * (WIRE_HEADER_SIZE + WIRE_BODY_MAX always suffices) or a string or count is beyond its limit, or
 * -EINVAL for an unknown type. */
long wire_message_encode(const struct wire_message *m, uint8_t *buf, size_t size);
/* Header: type and body length, limits checked. */
int wire_header_decode(const uint8_t buf[WIRE_HEADER_SIZE], enum wire_type *type,
		       uint32_t *body_len, struct errtext *err);
/* Body of the given type, exactly len bytes. On success the message must be released with
 * wire_message_destroy; on failure (-EPROTO, or -ENOMEM) nothing is left to release. */
int wire_body_decode(enum wire_type type, const uint8_t *body, size_t len, struct wire_message *m,
		     struct errtext *err);
/* Leaves an empty message, on which it may be called again. */
void wire_message_destroy(struct wire_message *m);
/* Hand the content over: *m is empty afterwards. */
struct wire_message wire_message_steal(struct wire_message *m);
#define _cleanup_message_ _cleanup_(wire_message_destroy)

/* ---- RAM frames ---- */

// A frame is a head of exactly WIRE_FRAME_SIZE bytes, then, for PAGES, the pages of its runs in
// order. A fixed head lets the receiver read "pages of this frame, head of the next" in one call.
// Behind the head of ZSTD come so many bytes as it says: the same pages, all of them as one frame
// of zstd's with its content's size and checksum (RFC 8878), and shorter than they are.
enum wire_frame_type {
	WIRE_FRAME_PAGES = 1,
	WIRE_FRAME_ZERO,  /* these pages are zero or holes: none follow */
	WIRE_FRAME_SYNC,  /* no runs, block 0; everything of `round` on this stream is out */
	WIRE_FRAME_STALE, /* what the destination has of these pages is out of date, or it has
			   * nothing: none follow now, they come after the hand-over */
	WIRE_FRAME_ZSTD,  /* WIRE_FEATURE_ZSTD: pages, compressed; never on a fault connection */
	WIRE_FRAME_TYPE_END_
};

#define WIRE_FRAME_SIZE 512
#define WIRE_FRAME_RUNS_MAX 61
#define WIRE_FRAME_PAGES_MAX 1024u /* pages in one PAGES frame: 4 MiB */
#define WIRE_ZSTD_PAGES_MAX 64u	   /* pages in one ZSTD frame: 256 KiB */

/* Frame flags; unknown ones are ignored. */
#define WIRE_FRAME_PREFETCH 1u /* nobody has asked for these pages yet, but probably will */
#define WIRE_FRAME_MORE 2u     /* another frame, of such pages, follows on this fault connection */
#define WIRE_FRAME_FLAGS (WIRE_FRAME_PREFETCH | WIRE_FRAME_MORE)

struct wire_frame {
	enum wire_frame_type type;
	uint16_t runs;
	uint16_t block; /* index in the agreed RAM map */
	uint16_t flags; /* WIRE_FRAME_PREFETCH, WIRE_FRAME_MORE */
	uint32_t round;
	uint32_t size; /* of ZSTD: bytes that follow, fewer than its pages have; of others 0 */
	struct wire_run run[WIRE_FRAME_RUNS_MAX];
};

void wire_frame_encode(const struct wire_frame *f, uint8_t buf[WIRE_FRAME_SIZE]);
/* Checked against the agreed map: block exists, runs lie inside it, are not empty, do not exceed
 * the limits. */
int wire_frame_decode(const uint8_t buf[WIRE_FRAME_SIZE], const struct ram_map *map,
		      struct wire_frame *f, struct errtext *err);
/* Pages in all runs. */
uint32_t wire_frame_pages(const struct wire_frame *f);

/* ---- page requests, on fault connections ---- */

/* The destination asks for a page that the guest waits for. The source answers each request, in
 * order, with one PAGES or ZERO frame of one run: exactly the pages asked for. If that has the flag
 * MORE, a few pages follow that nobody has asked for, in PAGES and ZERO frames of the same block
 * with the flag PREFETCH; all but the last have MORE. */
#define WIRE_PREFETCH_PAGES_MAX 32u /* behind one answer; or one page of the destination's */

struct wire_page_request {
	uint16_t block;	 /* index in the agreed RAM map */
	uint64_t first;	 /* page number in its block */
	uint32_t count;	 /* 1..WIRE_FRAME_PAGES_MAX: the destination's page, in 4 KiB pages */
	uint32_t thread; /* tells the guest's CPUs apart, for prediction only; 0: not known */
};

#define WIRE_PAGE_REQUEST_SIZE 32

void wire_page_request_encode(const struct wire_page_request *r,
			      uint8_t buf[WIRE_PAGE_REQUEST_SIZE]);
/* Checked against the agreed map. */
int wire_page_request_decode(const uint8_t buf[WIRE_PAGE_REQUEST_SIZE], const struct ram_map *map,
			     struct wire_page_request *r, struct errtext *err);
