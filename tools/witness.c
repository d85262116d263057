// SPDX-License-Identifier: Apache-2.0
//
// witness: the only program of a testbed guest. Fills its memory with data it can derive again,
// keeps rewriting part of it, and reports on the serial line whether every byte is still what it
// should be.
//
// Theory of operation
//
// Each 4 KiB page holds the output of a generator seeded with (set, page number, version). Nothing
// has to be remembered to check a page but its version, and no two pages, nor two versions of one,
// have anything in common that a compressor or a delta coder could use. With witness.repeat=N each
// word stands there N times, a power of two, so that a compressor makes less of it.
//
// The fill set never changes (version 0); one thread re-reads it in a circle, about once in
// witness.period seconds.
//
// With witness.touch=N that is done by N threads, each on a vCPU of its own, in a random order of
// all pages, or with witness.stride=S in steps of S pages, and each times its first touch of a
// page. What a page costs that is there, and what one costs that has yet to come from another host,
// are orders of magnitude apart: touches from TOUCH_SLOW_US on are counted by how long they took.
//
// The dirty set has its versions in memory of its own. Each worker checks a page whole against its
// version, then writes the next. A page that a migration brought over stale, torn, zeroed or twice
// shows on the next visit, because the table (also guest memory) says what it must be.
//
// The disk slots (with /dev/vda) are filled by O_DIRECT reads, their block number remembered. A
// slot is checked only when its turn comes again, some time after the data landed: a read that
// completed in the source's memory after the page had been copied shows as what was there before.
//
// A bad page counts once: it is reported, counted and mended. Pages are visited in a fixed permuted
// order, not at random, so that every page is known to be visited within (set size / rate) seconds.
//
// One line of JSON about every 100 ms on ttyS0, the first when the fill is complete:
//     {"ticks":7,"corrupt":0,"verified_mib":31,"rewritten_mib":14,"disk_reads":0,"passes":2}
// where passes says how often every page of both sets has been checked (two more passes after some
// event: all of memory was checked after it), and for the first corrupt pages a line
// {"corruption":{...}}. With touching threads it goes on
//     "touches":131072,"slow_us":{"151":40,"159":12}}
// where 40 touches took at most 151 us and 12 more at most 159. All counts only ever grow: the
// difference of two lines is what happened between them.
//
// As process 1 it is a guest's /init and takes its parameters from the kernel command line. Started
// otherwise, `witness FILE MIB` writes the disk image that a guest then verifies.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "histogram.h"

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define PAGES_PER_MIB 256u
#define SECTOR_BYTES 512u
#define SECTOR_WORDS (SECTOR_BYTES / sizeof(uint64_t))
#define BLOCK_BYTES 65536u
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)
#define BATCH_PAGES 16u // pages between two looks at the clock
#define TICK_NS 100000000ll
#define BACKLOG_NS 100000000ll // a stopped guest does not catch up on more than this
#define VERIFY_MAX_MIB 200u    // per second, so that checking a large fill leaves CPU for the rest
#define TOUCH_MAX_MIB 128u   // per second, all threads, so that pages that are there leave CPU, too
#define TOUCH_SLOW_US 20u    // a page that is there takes 3 under TCG, rarely more in an interrupt
#define LINE_MAX_BYTES 4000u // so that testbed finds the last line in the last 4 KiB
#define READERS 4u	     // disk reads in flight at once
#define READER_SLOTS 32u
#define READ_PERIOD_NS 4000000ll
#define REPORTED_MAX 16u // corrupt pages described one by one
#define THREADS_MAX 64u
#define MPOL_INTERLEAVE 3 // linux/mempolicy.h

enum set_id { SET_FILL = 1, SET_DIRTY, SET_DISK };

struct options {
	uint64_t fill_mib, dirty_mib;
	uint64_t rate_mib; // per second, upper limit, all workers together; 0 never rewrites
	uint64_t threads;  // workers sharing the dirty set
	uint64_t nodes;	   // NUMA nodes to spread memory over
	uint64_t disk;	   // 1: read and verify /dev/vda
	uint64_t touch;	   // threads that read the fill set, each touch timed; 0: one, untimed
	uint64_t stride;   // between the pages they touch; 0: at random
	uint64_t repeat;   // how often each word stands in a page
	uint64_t period_s; // in which the fill set is verified once, if nobody touches it
};

struct page_set {
	enum set_id id;
	const char *name;
	uint64_t *base;
	uint32_t *versions; // null: all 0
	uint64_t pages;
};

struct worker { // private to its thread once started
	struct page_set *set;
	uint64_t first, pages; // its share of the set
	uint64_t rate_mib;
	const uint32_t *order; // of all pages of the set, if it is not that of their numbers
	unsigned cpu;	       // to be pinned to, with an order
	atomic_ullong *passes;
};

struct slot {
	uint64_t *data;
	uint64_t block;
	bool valid;
};

// Written by all threads, read by the ticker; relaxed order, as each is a statistic of its own.
static struct {
	atomic_ullong corrupt, verified_pages, rewritten_pages, disk_reads, reported;
	atomic_ullong touches;
	struct histogram slow_us;	       // touches of TOUCH_SLOW_US and more
	atomic_ullong passes[2 * THREADS_MAX]; // of each thread that visits pages
	unsigned visitors;		       // how many those are; constant once ticking
	bool touching;			       // constant once ticking
} counters;

static int console = STDERR_FILENO;
static size_t repeat_mask; // witness.repeat less 1; constant once anything is written

static void count(atomic_ullong *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t value(atomic_ullong *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static unsigned long long full_passes(void)
{
	unsigned long long fewest = counters.visitors ? ~0ull : 0;
	for (unsigned i = 0; i < counters.visitors; i++)
		if (value(&counters.passes[i]) < fewest)
			fewest = value(&counters.passes[i]);
	return fewest;
}

// One write per line, so that lines of several threads do not mix.
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	size_t length = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
	line[length++] = '\n';
	if (write(console, line, length) < 0)
		return; // nobody left to tell
}

// ---- content
// -----------------------------------------------------------------------------------------------

// splitmix64's finaliser: neighbouring numbers become unrelated seeds.
static uint64_t mixed(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t seed_of(enum set_id id, uint64_t index, uint64_t version)
{
	return mixed(mixed(mixed((uint64_t)id) ^ index) ^ version) |
	       1; // xorshift must not start at 0
}

static inline uint64_t next_word(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static inline uint64_t word_at(size_t i, uint64_t before)
{
	return (i & repeat_mask) ? before : next_word(before);
}

static void words_write(uint64_t *words, size_t n, uint64_t seed)
{
	uint64_t x = seed;
	for (size_t i = 0; i < n; i++)
		words[i] = x = word_at(i, x);
}

static bool words_match(const uint64_t *words, size_t n, uint64_t seed)
{
	uint64_t x = seed, difference = 0;
	for (size_t i = 0; i < n; i++) {
		x = word_at(i, x);
		difference |= words[i] ^ x;
	}
	return difference == 0;
}

// What stands there instead says what went wrong: "zero" never arrived, "older" arrived too early.
static const char *looks_like(const uint64_t *words, size_t n, enum set_id id, uint64_t index,
			      uint64_t version)
{
	bool zero = true;
	for (size_t i = 0; i < n; i++)
		zero = zero && words[i] == 0;
	if (zero)
		return "zero";
	for (uint64_t back = 1; back <= 64 && back <= version; back++)
		if (words_match(words, n, seed_of(id, index, version - back)))
			return "older";
	return "other";
}

static void report_corruption(const uint64_t *words, size_t n, const char *set, enum set_id id,
			      uint64_t index, uint64_t version)
{
	count(&counters.corrupt, 1);
	if (atomic_fetch_add_explicit(&counters.reported, 1, memory_order_relaxed) >= REPORTED_MAX)
		return;
	uint64_t expected = seed_of(id, index, version);
	size_t bad = 0;
	while (bad < n && words[bad] == (expected = word_at(bad, expected)))
		bad++;
	say("{\"corruption\":{\"set\":\"%s\",\"page\":%llu,\"version\":%llu,\"word\":%zu,"
	    "\"expected\":\"%016llx\","
	    "\"found\":\"%016llx\",\"looks\":\"%s\"}}",
	    set, (unsigned long long)index, (unsigned long long)version, bad,
	    (unsigned long long)expected, (unsigned long long)(bad < n ? words[bad] : 0),
	    looks_like(words, n, id, index, version));
}

// ---- pace
// --------------------------------------------------------------------------------------------------

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void sleep_until(int64_t when)
{
	struct timespec t = {.tv_sec = when / 1000000000ll, .tv_nsec = when % 1000000000ll};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

// Moves the due time on by one step and waits for it. A step of 0 never waits.
static void pace(int64_t *due, int64_t step_ns)
{
	int64_t now = now_ns();
	*due += step_ns;
	if (*due > now)
		sleep_until(*due);
	else if (now - *due > BACKLOG_NS)
		*due = now - BACKLOG_NS;
}

static int64_t batch_ns(uint64_t rate_mib)
{
	return (int64_t)(BATCH_PAGES * 1000000000ull / (rate_mib * PAGES_PER_MIB));
}

// ---- memory
// ------------------------------------------------------------------------------------------------

static void *memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		say("{\"error\":\"witness: cannot allocate %zu MiB: give the guest more memory\"}",
		    bytes >> 20);
		pause();
	}
	return p;
}

static uint64_t *page_at(const struct page_set *set, uint64_t index)
{
	return set->base + index * PAGE_WORDS;
}

static void page_verify(struct page_set *set, uint64_t index)
{
	uint64_t *page = page_at(set, index);
	uint64_t version = set->versions ? set->versions[index] : 0;
	uint64_t seed = seed_of(set->id, index, version);
	count(&counters.verified_pages, 1);
	if (words_match(page, PAGE_WORDS, seed))
		return;
	report_corruption(page, PAGE_WORDS, set->name, set->id, index, version);
	words_write(page, PAGE_WORDS, seed);
}

static void page_rewrite(struct page_set *set, uint64_t index)
{
	page_verify(set, index);
	words_write(page_at(set, index), PAGE_WORDS,
		    seed_of(set->id, index, ++set->versions[index]));
	count(&counters.rewritten_pages, 1);
}

static void set_create(struct page_set *set, uint64_t mib)
{
	set->pages = mib * PAGES_PER_MIB;
	if (set->pages == 0)
		return;
	set->base = memory(set->pages * PAGE_BYTES);
	if (set->id == SET_DIRTY)
		set->versions = memory(set->pages * sizeof *set->versions);
	for (uint64_t i = 0; i < set->pages; i++)
		words_write(page_at(set, i), PAGE_WORDS, seed_of(set->id, i, 0));
}

static void *verify_fill(void *argument)
{
	struct worker *w = argument;
	int64_t step = batch_ns(w->rate_mib), due = now_ns();
	for (uint64_t i = 1;; i++) {
		page_verify(w->set, i % w->pages);
		if (i % w->pages == 0)
			count(w->passes, 1);
		if (i % BATCH_PAGES == 0)
			pace(&due, step);
	}
	return NULL;
}

// ---- touch
// -------------------------------------------------------------------------------------------------

// No stride: whoever fetches pages ahead shall find nothing to go by.
static uint32_t *random_order(uint64_t pages)
{
	uint32_t *order = memory(pages * sizeof *order);
	uint64_t choice = seed_of(SET_FILL, pages, 0);
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t at = (choice = next_word(choice)) % (i + 1);
		order[i] = order[at];
		order[at] = (uint32_t)i;
	}
	return order;
}

// All pages, in as many sweeps as the stride is long.
static uint32_t *stride_order(uint64_t pages, uint64_t stride)
{
	uint32_t *order = memory(pages * sizeof *order);
	uint64_t n = 0;
	for (uint64_t first = 0; first < stride; first++)
		for (uint64_t i = first; i < pages; i += stride)
			order[n++] = (uint32_t)i;
	return order;
}

static void page_touch(const struct page_set *set, uint64_t index)
{
	const volatile uint64_t *page = page_at(set, index);
	int64_t begun = clock_ns(CLOCK_MONOTONIC_RAW);
	(void)*page;
	uint64_t us = (uint64_t)(clock_ns(CLOCK_MONOTONIC_RAW) - begun) / 1000;
	count(&counters.touches, 1);
	if (us >= TOUCH_SLOW_US)
		histogram_add(&counters.slow_us, us);
}

static void pin(unsigned cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		say("{\"error\":\"witness: cannot pin a thread to CPU %u: %s\"}", cpu,
		    strerror(errno));
}

static void *touch_fill(void *argument)
{
	struct worker *w = argument;
	int64_t step = batch_ns(w->rate_mib), due;
	pin(w->cpu);
	due = now_ns();
	for (uint64_t i = 1;; i++) {
		uint64_t index = w->order[w->first + i % w->pages];
		page_touch(w->set, index);
		page_verify(w->set, index);
		if (i % w->pages == 0)
			count(w->passes, 1);
		if (i % BATCH_PAGES == 0)
			pace(&due, step);
	}
	return NULL;
}

// ---- rewrite
// -----------------------------------------------------------------------------------------------

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
	return b == 0 ? a : common_divisor(b, a % b);
}

// A stride without a common divisor with n visits all n pages, and never neighbours in a row.
static uint64_t stride_for(uint64_t n)
{
	uint64_t stride = n * 5 / 8 + 1;
	while (common_divisor(stride, n) != 1)
		stride++;
	return stride;
}

static void *rewrite_dirty(void *argument)
{
	struct worker *w = argument;
	uint64_t stride = stride_for(w->pages), at = 0;
	int64_t step = batch_ns(w->rate_mib), due = now_ns();
	for (uint64_t i = 1;; i++) {
		page_rewrite(w->set, w->first + at);
		at = (at + stride) % w->pages;
		if (i % w->pages == 0)
			count(w->passes, 1);
		if (i % BATCH_PAGES == 0)
			pace(&due, step);
	}
	return NULL;
}

// ---- disk
// --------------------------------------------------------------------------------------------------

static void slot_verify(struct slot *slot)
{
	for (uint64_t i = 0; i < BLOCK_SECTORS; i++) {
		uint64_t sector = slot->block * BLOCK_SECTORS + i,
			 *words = slot->data + i * SECTOR_WORDS;
		if (words_match(words, SECTOR_WORDS, seed_of(SET_DISK, sector, 0)))
			continue;
		report_corruption(words, SECTOR_WORDS, "disk", SET_DISK, sector, 0);
		return;
	}
}

static void slot_read(struct slot *slot, int fd, uint64_t block)
{
	ssize_t n = pread(fd, slot->data, BLOCK_BYTES, (off_t)(block * BLOCK_BYTES));
	slot->block = block;
	slot->valid = n == BLOCK_BYTES;
	if (!slot->valid) {
		say("{\"error\":\"witness: /dev/vda block %llu: %s\"}", (unsigned long long)block,
		    n < 0 ? strerror(errno) : "short read");
		count(&counters.corrupt, 1);
	}
	count(&counters.disk_reads, 1);
}

static void *read_disk(void *argument)
{
	int fd = *(int *)argument;
	uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / BLOCK_BYTES,
		 choice = seed_of(SET_DISK, gettid(), 0);
	struct slot slots[READER_SLOTS] = {0};
	uint64_t *pool = memory(READER_SLOTS * BLOCK_BYTES);
	int64_t due = now_ns();
	for (uint64_t i = 0; blocks > 0; i++) {
		struct slot *slot = &slots[i % READER_SLOTS];
		if (slot->valid)
			slot_verify(slot);
		slot->data = pool + i % READER_SLOTS * (BLOCK_BYTES / sizeof *pool);
		slot_read(slot, fd, (choice = next_word(choice)) % blocks);
		pace(&due, READ_PERIOD_NS);
	}
	return NULL;
}

static int image_write(const char *path, uint64_t mib)
{
	FILE *file = fopen(path, "we");
	if (!file) {
		fprintf(stderr, "witness: %s: %s\n", path, strerror(errno));
		return 1;
	}
	uint64_t words[SECTOR_WORDS];
	bool good = true;
	for (uint64_t sector = 0; sector < mib * (1u << 20) / SECTOR_BYTES && good; sector++) {
		words_write(words, SECTOR_WORDS, seed_of(SET_DISK, sector, 0));
		good = fwrite(words, sizeof words, 1, file) == 1;
	}
	if (fclose(file) != 0 || !good) {
		fprintf(stderr, "witness: %s: write failed; is the file system full?\n", path);
		return 1;
	}
	return 0;
}

// ---- process 1
// ---------------------------------------------------------------------------------------------

static void console_open(void)
{
	int fd = open("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	struct termios mode;
	if (fd < 0)
		return;
	if (tcgetattr(fd, &mode) == 0) {
		cfmakeraw(&mode); // no carriage returns in the log
		tcsetattr(fd, TCSANOW, &mode);
	}
	console = fd;
}

static void modules_load(const char *directory)
{
	struct dirent **entries;
	int n = scandir(directory, &entries, NULL,
			alphasort); // testbed numbers them in dependency order
	for (int i = 0; i < n; i++) {
		char path[512];
		snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
		if (entries[i]->d_name[0] == '.')
			continue;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
			say("{\"error\":\"witness: cannot load %s: %s\"}", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
}

static uint64_t option(const char *cmdline, const char *name, uint64_t otherwise)
{
	const char *found = strstr(cmdline, name);
	return found ? strtoull(found + strlen(name), NULL, 10) : otherwise;
}

static struct options options_read(void)
{
	char text[4096] = "";
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		say("{\"error\":\"witness: cannot read /proc/cmdline: %s\"}", strerror(errno));
	if (fd >= 0)
		close(fd);
	struct options o = {
		.fill_mib = option(text, "witness.fill=", 64),
		.dirty_mib = option(text, "witness.dirty=", 16),
		.rate_mib = option(text, "witness.rate=", 0),
		.threads = option(text, "witness.threads=", 1),
		.nodes = option(text, "witness.nodes=", 1),
		.disk = option(text, "witness.disk=", 0),
		.touch = option(text, "witness.touch=", 0),
		.stride = option(text, "witness.stride=", 0),
		.repeat = option(text, "witness.repeat=", 1),
		.period_s = option(text, "witness.period=", 8),
	};
	if (o.repeat < 1 || o.repeat > PAGE_WORDS || o.repeat & (o.repeat - 1))
		o.repeat = 1;
	if (o.threads < 1 || o.threads > THREADS_MAX)
		o.threads = 1;
	if (o.touch > THREADS_MAX || o.touch > o.fill_mib)
		o.touch = 0;
	return o;
}

static void thread_start(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, body, argument);
	if (error)
		say("{\"error\":\"witness: cannot start a thread: %s\"}", strerror(error));
}

static void verifier_start(struct page_set *fill, uint64_t period_s)
{
	static struct worker worker;
	uint64_t rate = fill->pages / PAGES_PER_MIB / (period_s ? period_s : 1) + 1;
	if (fill->pages == 0)
		return;
	worker = (struct worker){
		.set = fill,
		.pages = fill->pages,
		.rate_mib = rate < VERIFY_MAX_MIB ? rate : VERIFY_MAX_MIB,
		.passes = &counters.passes[counters.visitors++],
	};
	thread_start(verify_fill, &worker);
}

static void touchers_start(const struct options *o, struct page_set *fill)
{
	static struct worker workers[THREADS_MAX];
	const uint32_t *order =
		o->stride ? stride_order(fill->pages, o->stride) : random_order(fill->pages);
	uint64_t share = fill->pages / o->touch, rate = TOUCH_MAX_MIB / o->touch;
	counters.touching = true;
	for (unsigned i = 0; i < o->touch; i++) {
		bool last = i == o->touch - 1;
		workers[i] = (struct worker){
			.set = fill,
			.first = i * share,
			.pages = last ? fill->pages - i * share : share,
			.rate_mib = rate ? rate : 1,
			.order = order,
			.cpu = i,
			.passes = &counters.passes[counters.visitors++],
		};
		thread_start(touch_fill, &workers[i]);
	}
}

static void workers_start(const struct options *o, struct page_set *dirty)
{
	static struct worker workers[THREADS_MAX];
	uint64_t share = dirty->pages / o->threads, rate = o->rate_mib / o->threads;
	if (o->rate_mib == 0 || share == 0)
		return;
	for (uint64_t i = 0; i < o->threads; i++) {
		bool last = i == o->threads - 1;
		workers[i] = (struct worker){
			.set = dirty,
			.first = i * share,
			.pages = last ? dirty->pages - i * share : share,
			.rate_mib = rate ? rate : 1,
			.passes = &counters.passes[counters.visitors++],
		};
		thread_start(rewrite_dirty, &workers[i]);
	}
}

static void readers_start(void)
{
	static int fd;
	fd = open("/dev/vda", O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0) {
		say("{\"error\":\"witness: /dev/vda: %s\"}", strerror(errno));
		count(&counters.corrupt, 1);
		return;
	}
	for (unsigned i = 0; i < READERS; i++)
		thread_start(read_disk, &fd);
}

// The rest of the line; what would not fit is left out, and does not happen.
static void touches_print(char *text, size_t size)
{
	unsigned bucket = 0, length;
	uint64_t n, end;
	text[0] = 0;
	if (!counters.touching)
		return;
	length = (unsigned)snprintf(text, size, ",\"touches\":%llu,\"slow_us\":{",
				    (unsigned long long)value(&counters.touches));
	for (char comma[2] = ""; (n = histogram_next(&counters.slow_us, &bucket, &end)) != 0;
	     comma[0] = ',') {
		if (length + 64 > size)
			break;
		length += (unsigned)snprintf(text + length, size - length, "%s\"%llu\":%llu", comma,
					     (unsigned long long)end, (unsigned long long)n);
	}
	snprintf(text + length, size - length, "}");
}

static void tick(void)
{
	static char touches[LINE_MAX_BYTES - 256];
	int64_t due = now_ns();
	for (unsigned long long ticks = 1;; ticks++) {
		touches_print(touches, sizeof touches);
		say("{\"ticks\":%llu,\"corrupt\":%llu,\"verified_mib\":%llu,\"rewritten_mib\":%llu,"
		    "\"disk_reads\":%llu,\"passes\":%llu%s}",
		    ticks, (unsigned long long)value(&counters.corrupt),
		    (unsigned long long)value(&counters.verified_pages) / PAGES_PER_MIB,
		    (unsigned long long)value(&counters.rewritten_pages) / PAGES_PER_MIB,
		    (unsigned long long)value(&counters.disk_reads), full_passes(), touches);
		pace(&due, TICK_NS);
	}
}

static void file_systems_mount(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL))
		fprintf(stderr, "witness: mount: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	if (getpid() != 1) {
		if (argc == 3)
			return image_write(argv[1], strtoull(argv[2], NULL, 10));
		fprintf(stderr, "usage: witness FILE MIB\n");
		return 1;
	}
	static struct page_set fill = {.id = SET_FILL, .name = "fill"};
	static struct page_set dirty = {.id = SET_DIRTY, .name = "dirty"};
	file_systems_mount();
	console_open();
	struct options o = options_read();
	repeat_mask = o.repeat - 1;
	modules_load("/modules");
	unsigned long nodes = (1ul << (o.nodes & 31)) - 1;
	if (o.nodes > 1 &&
	    syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, 8 * sizeof nodes) != 0)
		say("{\"error\":\"witness: cannot spread over %llu nodes: %s\"}",
		    (unsigned long long)o.nodes, strerror(errno));
	set_create(&fill, o.fill_mib);
	set_create(&dirty, o.dirty_mib);
	if (o.touch)
		touchers_start(&o, &fill);
	else
		verifier_start(&fill, o.period_s);
	workers_start(&o, &dirty);
	if (o.disk)
		readers_start();
	tick();
}
