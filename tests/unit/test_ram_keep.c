// SPDX-License-Identifier: Apache-2.0
// ram_keep: another process holds guest RAM, and it is found again by what was written down.
#include "ram_keep.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "process.h"

#define SIZE (64u * 4096)

static int unlinked_file(void)
{
	char path[] = "/dev/shm/dray-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	cr_assert_geq(fd, 0, "%s", strerror(errno));
	unlink(path);
	return fd;
}

static void add(struct ram_map *map, const char *name, int fd)
{
	struct ram_block block = {.size = SIZE, .page_size = 4096, .fd = fd};
	struct errtext err = {0};

	cr_assert_eq(ftruncate(fd, SIZE), 0);
	cr_assert_eq(pwrite(fd, name, strlen(name), 4096 * 3), (ssize_t)strlen(name));
	snprintf(block.name, sizeof(block.name), "%s", name);
	cr_assert_eq(ram_map_add(map, &block, &err), 0, "%s", err.text);
}

/* Two blocks, nowhere in a directory. */
static void make_map(struct ram_map *map)
{
	*map = (struct ram_map){0};
	add(map, "pc.ram", unlinked_file());
	add(map, "ram-node1", memfd_create("ram-node1", MFD_CLOEXEC));
}

static void describe(const struct ram_map *map, struct ram_keep *keep)
{
	struct errtext err = {0};

	*keep = (struct ram_keep){0};
	cr_assert_eq(ram_keep_describe(map, keep, &err), 0, "%s", err.text);
}

/* A process that lives until its standard input ends, with nothing of ours but what is kept. */
static pid_t spawn_holder(const struct ram_keep *keep, int *stop)
{
	char *const argv[] = {(char *)"cat", NULL};
	posix_spawn_file_actions_t actions;
	int ends[2];
	pid_t pid;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	cr_assert_eq(ram_keep_inherit(keep, &actions), 0);
	cr_assert_eq(posix_spawnp(&pid, "cat", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	*stop = ends[1];
	return pid;
}

static void end_holder(pid_t pid, int stop)
{
	close(stop);
	waitpid(pid, NULL, 0);
}

/* By way of the text, as a record would keep it. */
static void through_text(struct ram_keep *keep)
{
	json_object *o = ram_keep_to_json(keep), *parsed;
	struct errtext err = {0};

	parsed = json_tokener_parse(json_object_to_json_string(o));
	ram_keep_destroy(keep);
	cr_assert_eq(ram_keep_from_json(parsed, keep, &err), 0, "%s", err.text);
	json_object_put(parsed);
	json_object_put(o);
}

static void check_contents(const struct ram_map *map)
{
	static const char *const names[] = {"pc.ram", "ram-node1"};

	cr_assert_eq(map->count, 2);
	for (int i = 0; i < 2; i++) {
		const struct ram_block *b = &map->blocks[i];

		cr_assert_str_eq(b->name, names[i]);
		cr_assert_eq(b->size, SIZE);
		cr_assert_eq(b->page_size, 4096);
		cr_assert_eq(memcmp(b->map + 4096 * 3, names[i], strlen(names[i])), 0);
		cr_assert_eq(fcntl(b->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		cr_assert(fcntl(b->fd, F_GETFD) & FD_CLOEXEC);
	}
}

Test(ram_keep, survives_whoever_made_it)
{
	struct ram_map map, again = {0};
	struct ram_keep keep;
	struct errtext err = {0};
	int stop;
	pid_t holder;

	make_map(&map);
	describe(&map, &keep);
	map.blocks[0].kept = 17; /* noted later */
	map.blocks[0].sentinel = 3;
	ram_keep_note(&map, &keep);
	holder = spawn_holder(&keep, &stop);
	ram_map_destroy(&map);
	through_text(&keep);
	cr_assert_eq(ram_reopen(holder, &keep, &again, &err), 0, "%s", err.text);
	ram_keep_recall(&keep, &again);
	cr_assert_eq(again.blocks[0].kept, 17);
	cr_assert_eq(again.blocks[0].sentinel, 3);
	end_holder(holder, stop);
	check_contents(&again);
	ram_map_destroy(&again);
	ram_keep_destroy(&keep);
}

Test(ram_keep, the_holder_itself_may_reopen)
{
	struct ram_map map, again = {0};
	struct ram_keep keep;
	struct errtext err = {0};

	make_map(&map);
	describe(&map, &keep);
	cr_assert_eq(ram_reopen(getpid(), &keep, &again, &err), 0, "%s", err.text);
	ram_map_destroy(&map);
	check_contents(&again);
	ram_map_destroy(&again);
	ram_keep_destroy(&keep);
}

/* QEMU, which is ourselves here, and has opened them under other numbers. */
Test(ram_keep, found_where_they_are_open)
{
	struct ram_map map, again = {0};
	struct ram_keep keep;
	struct errtext err = {0};
	uint64_t started;

	cr_assert_eq(process_started(getpid(), &started, NULL), 0);
	make_map(&map);
	describe(&map, &keep);
	for (unsigned int i = 0; i < 2; i++)
		keep.blocks[i].fd = 1000;
	cr_assert_eq(ram_reopen_found(getpid(), started + 1, &keep, &again, &err), -ESRCH);
	cr_assert(strstr(err.text, "another one by now"), "%s", err.text);
	err = (struct errtext){0};
	cr_assert_eq(ram_reopen_found(getpid(), started, &keep, &again, &err), 0, "%s", err.text);
	check_contents(&again);
	ram_map_destroy(&again);
	ram_map_destroy(&map);
	err = (struct errtext){0};
	cr_assert_eq(ram_reopen_found(getpid(), started, &keep, &again, &err), -ESTALE, "%s",
		     err.text);
	cr_assert_eq(again.count, 0);
	ram_keep_destroy(&keep);
}

/* ---- other files than those written down ---- */

static void refused(const struct ram_keep *keep, int expected)
{
	struct ram_map again = {0};
	struct errtext err = {0};

	cr_assert_eq(ram_reopen(getpid(), keep, &again, &err), expected, "%s", err.text);
	cr_assert_not_null(strstr(err.text, "ram-node1"), "%s", err.text);
	cr_assert_eq(again.count, 0);
}

static void replace(const struct ram_keep *keep, int with)
{
	cr_assert_eq(dup3(with, keep->blocks[1].fd, O_CLOEXEC), keep->blocks[1].fd);
	close(with);
}

Test(ram_keep, another_file_is_refused)
{
	int other = memfd_create("ram-node1", MFD_CLOEXEC), pipe_ends[2];
	struct ram_map map;
	struct ram_keep keep;

	make_map(&map);
	describe(&map, &keep);
	cr_assert_eq(ftruncate(other, SIZE), 0);
	replace(&keep, other);
	refused(&keep, -ESTALE);
	cr_assert_eq(pipe(pipe_ends), 0);
	replace(&keep, pipe_ends[0]);
	refused(&keep, -ESTALE);
	replace(&keep, open("/dev/null", O_RDWR));
	refused(&keep, -ESTALE);
	ram_keep_destroy(&keep);
	ram_map_destroy(&map);
}

/* The right inode number on another file system, or the right file cut short. */
Test(ram_keep, another_device_or_size_is_refused)
{
	struct ram_map map;
	struct ram_keep keep;

	make_map(&map);
	describe(&map, &keep);
	keep.blocks[1].dev++;
	refused(&keep, -ESTALE);
	keep.blocks[1].dev--;
	cr_assert_eq(ftruncate(keep.blocks[1].fd, SIZE / 2), 0);
	refused(&keep, -ESTALE);
	ram_keep_destroy(&keep);
	ram_map_destroy(&map);
}

Test(ram_keep, a_closed_descriptor_is_refused)
{
	struct ram_map map;
	struct ram_keep keep;

	make_map(&map);
	describe(&map, &keep);
	close(map.blocks[1].fd);
	refused(&keep, -ESTALE);
	map.blocks[1].fd = -1;
	ram_keep_destroy(&keep);
	ram_map_destroy(&map);
}

Test(ram_keep, the_holder_has_gone)
{
	struct ram_map map, again = {0};
	struct ram_keep keep;
	struct errtext err = {0};
	int stop;
	pid_t holder;

	make_map(&map);
	describe(&map, &keep);
	holder = spawn_holder(&keep, &stop);
	end_holder(holder, stop);
	cr_assert_eq(ram_reopen(holder, &keep, &again, &err), -ESRCH, "%s", err.text);
	cr_assert_neq(err.text[0], '\0');
	ram_keep_destroy(&keep);
	ram_map_destroy(&map);
}

Test(ram_keep, a_block_without_a_file_cannot_be_kept)
{
	struct ram_block block = {.name = "pc.ram", .size = SIZE, .page_size = 4096, .fd = -1};
	struct ram_map map = {0};
	struct ram_keep keep = {0};
	struct errtext err = {0};

	cr_assert_eq(ram_map_add(&map, &block, NULL), 0);
	cr_assert_eq(ram_keep_describe(&map, &keep, &err), -EBADF);
	cr_assert_not_null(strstr(err.text, "pc.ram"), "%s", err.text);
	cr_assert_null(keep.blocks);
	ram_map_destroy(&map);
}

/* ---- hostile records ---- */

#define REST ",\"size\":4096,\"page_size\":4096,\"fd\":5,\"dev\":1,\"ino\":2}]"

static const char *const bad[] = {
	"{}",
	"7",
	"[null]",
	"[7]",
	"[{}]",
	"[{\"name\":\"\"" REST,
	"[{\"name\":7" REST,
	"[{\"name\":\"a\\u0000b\"" REST,
	"[{\"name\":\"a\",\"size\":-1,\"page_size\":4096,\"fd\":5,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":\"4096\",\"page_size\":4096,\"fd\":5,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":1e3,\"page_size\":4096,\"fd\":5,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":140737488355328,\"page_size\":4096,\"fd\":5,\"dev\":1,\"ino\":2}"
	"]",
	"[{\"name\":\"a\",\"size\":4096,\"page_size\":4294967296,\"fd\":5,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":4096,\"page_size\":4096,\"fd\":2147483648,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":4096,\"page_size\":4096,\"fd\":-5,\"dev\":1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":4096,\"page_size\":4096,\"fd\":5,\"dev\":-1,\"ino\":2}]",
	"[{\"name\":\"a\",\"size\":4096,\"page_size\":4096,\"fd\":5,\"dev\":1}]",
};

Test(ram_keep, nonsense_is_refused)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_object *o = json_tokener_parse(bad[i]);
		struct ram_keep keep = {0};
		struct errtext err = {0};

		cr_assert_not_null(o, "%s", bad[i]);
		cr_assert_eq(ram_keep_from_json(o, &keep, &err), -EINVAL, "%s", bad[i]);
		cr_assert_neq(err.text[0], '\0');
		cr_assert_null(keep.blocks);
		json_object_put(o);
	}
}

Test(ram_keep, too_many_blocks_are_refused)
{
	json_object *o = json_object_new_array();
	struct ram_keep keep = {0};

	for (int i = 0; i <= RAM_BLOCKS_MAX; i++)
		json_object_array_add(o, json_object_new_object());
	cr_assert_eq(ram_keep_from_json(o, &keep, NULL), -EINVAL);
	json_object_put(o);
}

Test(ram_keep, none_and_numbers_at_their_limits)
{
	struct ram_keep_block block = {
		.name = "a", .size = 4096, .page_size = 4096, .fd = 5, .dev = ~0ull, .ino = ~0ull};
	struct ram_keep keep = {0}, one = {.count = 1, .blocks = malloc(sizeof(block))};

	through_text(&keep);
	cr_assert_eq(keep.count, 0);
	*one.blocks = block;
	through_text(&one);
	cr_assert_eq(one.blocks[0].dev, ~0ull);
	cr_assert_eq(one.blocks[0].ino, ~0ull);
	ram_keep_destroy(&one);
}

/* ---- private memory ---- */

/* Of a child that lives until it is killed; and a file beside it. */
static pid_t make_private(struct ram_map *map, uint8_t *content)
{
	struct ram_block block = {.name = "ram-node1",
				  .size = SIZE,
				  .page_size = 4096,
				  .fd = -1,
				  .sent_by_qemu = true};
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	block.private_to = pid;
	block.qemu_addr = (uintptr_t)content;
	*map = (struct ram_map){0};
	add(map, "pc.ram", unlinked_file());
	cr_assert_eq(ram_map_add(map, &block, NULL), 0);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(ram_keep, private_memory_is_found_in_its_process)
{
	static uint8_t content[SIZE] = "private";
	posix_spawn_file_actions_t actions;
	struct ram_map map, found = {0};
	struct errtext err = {0};
	struct ram_keep keep;
	pid_t pid = make_private(&map, content);
	int pidfd = -1;

	describe(&map, &keep);
	through_text(&keep);
	posix_spawn_file_actions_init(&actions);
	cr_assert_eq(ram_keep_inherit(&keep, &actions), 0);
	posix_spawn_file_actions_destroy(&actions);
	cr_assert_eq(ram_reopen(getpid(), &keep, &found, &err), 0, "%s", err.text);
	cr_assert_eq(found.count, 2);
	cr_assert_not(ram_block_is_private(&found.blocks[0]));
	cr_assert_eq(found.blocks[1].private_to, pid);
	cr_assert_eq(found.blocks[1].qemu_addr, (uintptr_t)content);
	cr_assert_eq(found.blocks[1].map, NULL);
	cr_assert_eq(process_has_ended(found.blocks[1].fd), false);
	cr_assert_eq(ram_keep_hold_qemu(&keep, &pidfd, &err), 0, "%s", err.text);
	end_child(pid);
	cr_assert(process_has_ended(pidfd) && process_has_ended(found.blocks[1].fd));
	close(pidfd);
	ram_map_destroy(&found);
	ram_map_destroy(&map);
	ram_keep_destroy(&keep);
}

Test(ram_keep, where_private_memory_is_can_be_told_without_qemu)
{
	static struct ram_backends known;
	static uint8_t content[SIZE];
	struct ram_map map;
	struct ram_keep keep;
	pid_t pid = make_private(&map, content);

	describe(&map, &keep);
	through_text(&keep);
	ram_keep_backends(&keep, &known);
	cr_assert_eq(known.count, 1, "files name themselves");
	cr_assert_str_eq(known.item[0].name, map.blocks[1].name);
	cr_assert_eq(known.item[0].size, SIZE);
	cr_assert_eq(known.item[0].addr, (uintptr_t)content);
	end_child(pid);
	ram_map_destroy(&map);
	ram_keep_destroy(&keep);
}

Test(ram_keep, private_memory_ends_with_its_process)
{
	struct ram_map map, found = {0};
	struct errtext err = {0};
	struct ram_keep keep;
	pid_t pid = make_private(&map, NULL);
	int pidfd = -1;

	describe(&map, &keep);
	keep.blocks[1].started++;
	cr_assert_eq(ram_keep_hold_qemu(&keep, &pidfd, NULL), -ESRCH, "of a process before");
	keep.blocks[1].started--;
	end_child(pid);
	cr_assert_eq(ram_keep_hold_qemu(&keep, &pidfd, NULL), -ESRCH);
	cr_assert_eq(ram_reopen(getpid(), &keep, &found, &err), -ESRCH, "%s", err.text);
	cr_assert_eq(found.count, 0);
	cr_assert_eq(ram_reopen_ended(&keep, &found, NULL), 0);
	cr_assert_eq(found.count, 2);
	for (int i = 0; i < 2; i++)
		cr_assert(found.blocks[i].private_to == pid && found.blocks[i].fd == -1);
	ram_map_destroy(&found);
	ram_map_destroy(&map);
	ram_keep_destroy(&keep);
}

Test(ram_keep, of_files_no_process_is_known)
{
	struct ram_map map;
	struct ram_keep keep;
	int pidfd = -1;

	make_map(&map);
	describe(&map, &keep);
	cr_assert_eq(ram_keep_hold_qemu(&keep, &pidfd, NULL), -ENOENT);
	ram_map_destroy(&map);
	ram_keep_destroy(&keep);
}
