// SPDX-License-Identifier: Apache-2.0
// What the user sees: JSON lines, or one live line on a terminal and a summary.
#include "report.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "json_field.h"
#include "size_text.h"

void report_init(struct report *r, bool json)
{
	r->json = json;
	r->terminal = !json && isatty(STDERR_FILENO);
	r->live = false;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

#define EVENT_WAIT_MS 100

/* ---- JSON ---- */

static json_object *begin_json(const char *event)
{
	json_object *o = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_put_text(o, "event", event);
	json_put_time(o, "time", &now, 6);
	return o;
}

/* A caller that does not read must not stop the migration, let alone with the guest stopped. A line
 * is shorter than PIPE_BUF, so a pipe that poll finds writable takes it at once. */
static bool is_clogged(int wait_ms)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, wait_ms) == 0;
}

static void end_json(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(o);
}

/* An event other than the result: dropped when nobody reads. */
static void end_passing(json_object *o, int wait_ms)
{
	if (is_clogged(wait_ms))
		json_object_put(o);
	else
		end_json(o);
}

/* ---- text ---- */

static void clear_live(struct report *r)
{
	if (r->live)
		fputs("\r\033[K", stderr);
	r->live = false;
}

static void draw_bar(char bar[21], uint64_t done, uint64_t total)
{
	int filled = total ? (int)(done * 20 / total) : 0;

	filled = filled > 20 ? 20 : filled;
	memset(bar, '#', filled);
	memset(bar + filled, '.', 20 - filled);
	bar[20] = 0;
}

void report_progress(struct report *r, const struct report_progress *p)
{
	char rate[32], dirty[64] = "", number[32], remaining[32], bar[21];
	uint64_t left = p->remaining_bytes < p->total_bytes ? p->remaining_bytes : p->total_bytes;

	if (r->json) {
		json_object *o = begin_json("progress");

		json_put_text(o, "phase", phase_name(p->phase));
		json_put_number(o, "round", p->round);
		json_put_number(o, "remaining_bytes", p->remaining_bytes);
		json_put_number(o, "transferred_bytes", p->transferred_bytes);
		json_put_number(o, "dirty_bytes_per_s", p->dirty_bytes_per_s);
		json_put_number(o, "bytes_per_s", p->bytes_per_s);
		json_put_number(o, "eta_ms", p->eta_ms);
		end_passing(o, 0);
		return;
	}
	if (!r->terminal)
		return;
	draw_bar(bar, p->total_bytes - left, p->total_bytes);
	if (p->dirty_known)
		snprintf(dirty, sizeof(dirty), "dirty %s/s, ",
			 size_text(p->dirty_bytes_per_s, number));
	fprintf(stderr, "\r\033[K%-11s [%s] %s left, %s/s, %sround %u, ETA %.1f s",
		phase_name(p->phase), bar, size_text(p->remaining_bytes, remaining),
		size_text(p->bytes_per_s, rate), dirty, p->round, (double)p->eta_ms / 1000);
	fflush(stderr);
	r->live = true;
}

void report_event(struct report *r, const char *event, enum phase phase, const char *text)
{
	if (r->json) {
		json_object *o = begin_json(event);

		json_put_text(o, "phase", phase_name(phase));
		json_put_text(o, "message", text);
		end_passing(o, EVENT_WAIT_MS);
		return;
	}
	clear_live(r);
	/* A refusal is told with the result. */
	if (strcmp(event, "phase") != 0 && strcmp(event, "refused") != 0)
		fprintf(stderr, "dray: %s\n", text);
}

void report_round(struct report *r, uint32_t round, uint64_t bytes, uint64_t duration_us,
		  const char *disks)
{
	json_object *o;

	if (!r->json)
		return;
	o = begin_json("round");
	json_put_number(o, "round", round);
	json_put_number(o, "bytes", bytes);
	json_put_number(o, "duration_us", duration_us);
	if (disks)
		json_put_text(o, "disks", disks);
	end_passing(o, EVENT_WAIT_MS);
}

void report_stop(struct report *r, const struct stop_table *t)
{
	json_object *o;

	if (!r->json)
		return;
	o = begin_json("stop");
	stop_table_put(o, t);
	end_passing(o, EVENT_WAIT_MS);
}

void report_queued(struct report *r, const char *where, unsigned int ahead)
{
	json_object *o;

	if (!r->json) {
		clear_live(r);
		fprintf(stderr, "dray: waiting for a turn on the %s, %u ahead\n", where, ahead);
		return;
	}
	o = begin_json("queued");
	json_put_text(o, "where", where);
	json_put_number(o, "ahead", ahead);
	end_passing(o, EVENT_WAIT_MS);
}

void report_attempt(struct report *r, unsigned int attempt, unsigned int pause_s,
		    const char *reason)
{
	json_object *o;

	if (!r->json) {
		clear_live(r);
		fprintf(stderr, "dray: attempt %u failed: %s\ndray: next attempt in %u s\n",
			attempt, reason, pause_s);
		return;
	}
	o = begin_json("attempt");
	json_put_number(o, "attempt", attempt);
	json_put_number(o, "pause_s", pause_s);
	json_put_text(o, "reason", reason);
	end_passing(o, EVENT_WAIT_MS);
}

static void put_post_copy(json_object *o, const struct wire_complete *x)
{
	json_put_number(o, "faults", x->faults);
	json_put_number(o, "fault_p50_us", x->fault_p50_us);
	json_put_number(o, "fault_p99_us", x->fault_p99_us);
	json_put_number(o, "fault_max_us", x->fault_max_us);
	json_put_number(o, "pages_by_fault", x->pages_fault);
	json_put_number(o, "pages_by_push", x->pages_push);
	json_put_number(o, "pages_by_prefetch", x->pages_prefetch);
	json_put_number(o, "post_copy_ms", x->duration_us / 1000);
}

static void put_proof(json_object *o, const struct proof_result *x)
{
	json_put_number(o, "pages_verified", x->equal);
	json_put_number(o, "pages_written_since", x->written);
	json_put_number(o, "pages_given_back", x->given_back);
	json_put_number(o, "pages_differing", x->unequal);
}

static void put_disks(json_object *o, const struct report_result *x)
{
	json_put_number(o, "rounds_drained", x->rounds_drained);
	json_put_number(o, "rounds_undrained", x->rounds_undrained);
	json_put_number(o, "pages_resent", x->pages_resent);
}

static void put_stop(json_object *o, const struct report_result *x)
{
	json_object *parts;

	json_object_object_add(o, "downtime_ms", json_object_new_double(x->downtime_ms));
	if (!x->stopped)
		return;
	json_object_object_add(o, "predicted_downtime_ms",
			       json_object_new_double(x->predicted_downtime_ms));
	if (!x->stop_known)
		return;
	parts = json_object_new_object();
	stop_table_put(parts, &x->stop);
	json_object_object_add(o, "stop", parts);
}

static uint64_t uncompressed(const struct compressor_stats *c)
{
	return c->pages * RAM_PAGE_SIZE;
}

static void put_compression(json_object *o, const struct report_result *x)
{
	char text[COMPRESSION_TEXT_SIZE];

	json_put_text(o, "compression", compression_text(&x->compression, text));
	json_put_number(o, "pages_compressed", x->compressed.pages);
	json_put_number(o, "bytes_uncompressed", uncompressed(&x->compressed));
	json_put_number(o, "bytes_compressed", x->compressed.bytes);
}

json_object *report_result_json(const struct report_result *x)
{
	json_object *o = begin_json("result");

	json_put_text(o, "result", x->result);
	json_put_text(o, "domain", x->domain);
	json_put_text(o, "uuid", x->uuid);
	json_put_text(o, "lane", x->lane);
	json_put_text(o, "mode", x->mode);
	json_put_text(o, "reason", x->reason);
	json_put_number(o, "total_ms", x->total_ms);
	json_put_number(o, "setup_ms", x->setup_ms);
	json_put_number(o, "tidy_ms", x->tidy_ms);
	put_stop(o, x);
	json_put_number(o, "rounds", x->rounds);
	json_put_number(o, "ram_bytes", x->ram_bytes);
	json_put_number(o, "wire_bytes", x->wire_bytes);
	json_put_number(o, "pages_sent", x->pages_sent);
	json_put_number(o, "pages_zero", x->pages_zero);
	json_put_number(o, "pages_skipped", x->pages_skipped);
	if (x->direct_disks)
		put_disks(o, x);
	json_put_number(o, "streams", x->streams);
	put_compression(o, x);
	json_object_object_add(o, "tls", json_object_new_boolean(x->tls));
	put_post_copy(o, &x->post_copy);
	json_put_text(o, "guest_on", x->guest_on);
	json_put_text(o, "host", x->host);
	json_put_number(o, "throttle_percent", x->throttle_percent);
	if (x->verified[0])
		json_put_text(o, "verified", x->verified);
	if (x->proof)
		put_proof(o, &x->proven);
	return o;
}

static void print_downtime(const struct report_result *x)
{
	char parts[STOP_TABLE_TEXT];

	printf("  downtime  %.1f ms", x->downtime_ms);
	if (x->stopped)
		printf(", predicted %.1f ms", x->predicted_downtime_ms);
	if (x->stop_known)
		printf("\n            %s", stop_table_text(&x->stop, parts));
	putchar('\n');
}

static void print_post_copy(const struct wire_complete *x)
{
	printf("  post-copy %.3f s, %" PRIu64 " faults (p50 %" PRIu64 " us, p99 %" PRIu64
	       " us, max %" PRIu64 " us); pages by fault %" PRIu64 ", by push %" PRIu64
	       ", by prefetch %" PRIu64 "\n",
	       (double)x->duration_us / 1000000, x->faults, x->fault_p50_us, x->fault_p99_us,
	       x->fault_max_us, x->pages_fault, x->pages_push, x->pages_prefetch);
}

static void print_compression(const struct report_result *x)
{
	char method[COMPRESSION_TEXT_SIZE], from[32], to[32];

	if (x->compressed.pages == 0)
		return;
	printf("  %-9s %" PRIu64 " pages, %s became %s\n",
	       compression_text(&x->compression, method), x->compressed.pages,
	       size_text(uncompressed(&x->compressed), from), size_text(x->compressed.bytes, to));
}

static void print_summary(const struct report_result *x)
{
	char wire[32], ram[32];

	printf("%s now runs on %s\n", x->domain, x->host);
	printf("  total     %.3f s, of it %.3f s set-up; then %.3f s to remove the guest here\n",
	       (double)x->total_ms / 1000, (double)x->setup_ms / 1000, (double)x->tidy_ms / 1000);
	print_downtime(x);
	printf("  moved     %s over the wire for %s of RAM, %" PRIu64 " rounds, %u stream%s\n",
	       size_text(x->wire_bytes, wire), size_text(x->ram_bytes, ram), x->rounds, x->streams,
	       x->streams == 1 ? "" : "s");
	printf("  pages     %" PRIu64 " sent, %" PRIu64 " zero or holes, %" PRIu64
	       " written but unchanged\n",
	       x->pages_sent, x->pages_zero, x->pages_skipped);
	print_compression(x);
	if (x->post_copy.duration_us)
		print_post_copy(&x->post_copy);
	if (x->verified[0])
		printf("  verified  all RAM equal on both hosts, digest %s\n", x->verified);
	if (x->proof && x->proven.complete)
		printf("  verified  %" PRIu64 " pages equal on both hosts, %" PRIu64
		       " written by the guest since, %" PRIu64 " given back\n",
		       x->proven.equal, x->proven.written, x->proven.given_back);
}

void report_result(struct report *r, const struct report_result *x)
{
	if (r->json) {
		end_json(report_result_json(x));
		return;
	}
	clear_live(r);
	if (strcmp(x->result, "completed") == 0) {
		print_summary(x);
		return;
	}
	fprintf(stderr, "dray: migration of %s to %s %s: %s\n", x->domain, x->host, x->result,
		x->reason);
	if (x->uuid[0]) /* else there is none of that name */
		fprintf(stderr, "dray: the guest is on: %s\n", x->guest_on);
}

void report_error(struct report *r, const char *text)
{
	clear_live(r);
	fprintf(stderr, "dray: %s\n", text);
	if (r->json) {
		json_object *o = begin_json("error");

		json_put_text(o, "message", text);
		end_json(o);
	}
}
