// SPDX-License-Identifier: Apache-2.0
// ram_find, against a process that has mapped what a QEMU under libvirt has.
#include "ram_find.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/magic.h>

#define MIB (1024ul * 1024)

struct guest {
	char dir[64];  /* on tmpfs */
	char disk[64]; /* not on tmpfs; empty if there is no such place */
	pid_t pid;
	int ready[2];
};

typedef void guest_maps(const struct guest *g);

static void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
}

static bool on_tmpfs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* Fork a process that maps what `maps` maps, and then waits to be killed. */
static void guest_start(struct guest *g, guest_maps *maps)
{
	char c;

	need_root();
	strcpy(g->dir, "/dev/shm/dray-test-XXXXXX");
	strcpy(g->disk, "/var/tmp/dray-test-XXXXXX");
	if (!mkdtemp(g->dir) || !on_tmpfs(g->dir))
		cr_skip_test("/dev/shm is no tmpfs");
	if (on_tmpfs("/var/tmp") || !mkdtemp(g->disk))
		g->disk[0] = '\0';
	cr_assert_eq(pipe(g->ready), 0);
	g->pid = fork();
	if (g->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		maps(g);
		if (write(g->ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(g->ready[1]);
	cr_assert_eq(read(g->ready[0], &c, 1), 1, "the guest failed");
}

static void guest_end(struct guest *g)
{
	char command[200];

	kill(g->pid, SIGKILL);
	waitpid(g->pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s %s", g->dir, g->disk);
	cr_assert_eq(system(command), 0);
}

static int make_file(const char *dir, const char *name, size_t size)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	for (char *slash = strchr(path + strlen(dir) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		_exit(2);
	return fd;
}

static char *map_fd(int fd, size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		_exit(3);
	return p;
}

/* ---- usable RAM ---- */

static void map_numa_guest(const struct guest *g)
{
	char *p = map_fd(make_file(g->dir, "ram/1-vm,x y/ram-node1", 4 * MIB), 4 * MIB, MAP_SHARED);
	char path[128];

	p[0] = 'B';
	/* Several lines in maps. */
	madvise(p + MIB, MIB, MADV_DONTFORK);
	p = map_fd(make_file(g->dir, "ram/1-vm,x y/ram-node0", 2 * MIB), 2 * MIB, MAP_SHARED);
	p[5] = 'A';
	map_fd(make_file(g->dir, "qemu_back_mem._objects_dimm0.a1B2c3", MIB), MIB, MAP_SHARED);
	snprintf(path, sizeof(path), "%s/qemu_back_mem._objects_dimm0.a1B2c3", g->dir);
	unlink(path);
	/* Not RAM: what QEMU has besides. */
	map_fd(memfd_create("vhost-log", 0), MIB, MAP_SHARED);
	map_fd(-1, 64 * MIB, MAP_PRIVATE | MAP_ANONYMOUS);
}

Test(ram_find, numa_guest)
{
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;
	int ret;

	guest_start(&g, map_numa_guest);
	ret = ram_find(g.pid, false, &map, &err);
	cr_assert_eq(ret, 0, "%d: %s", ret, err.text);
	cr_assert_eq(map.count, 3);
	cr_assert_str_eq(map.blocks[0].name, "dimm0");
	cr_assert_str_eq(map.blocks[1].name, "ram-node0");
	cr_assert_str_eq(map.blocks[2].name, "ram-node1");
	cr_assert_eq(map.blocks[2].size, 4 * MIB);
	cr_assert_eq(map.blocks[2].page_size, 4096);
	cr_assert_eq(map.blocks[1].map[5], 'A');
	/* It outlives the process. */
	guest_end(&g);
	cr_assert_eq(map.blocks[2].map[0], 'B');
	ram_map_destroy(&map);
}

static void map_libvirt_guest(const struct guest *g)
{
	map_fd(make_file(g->dir, "ram/17-guest/pc.ram", MIB), MIB, MAP_SHARED)[0] = 'A';
}

static char guest_byte(const struct guest *g, uint64_t addr)
{
	char path[32], c = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", g->pid);
	fd = open(path, O_RDONLY);
	cr_assert_eq(pread(fd, &c, 1, (off_t)addr), 1);
	close(fd);
	return c;
}

Test(ram_find, writable)
{
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	guest_start(&g, map_libvirt_guest);
	cr_assert_eq(ram_find(g.pid, true, &map, &err), 0, "%s", err.text);
	cr_assert_eq(map.count, 1);
	cr_assert_str_eq(map.blocks[0].name, "pc.ram");
	map.blocks[0].map[9] = 'Z';
	cr_assert_eq(guest_byte(&g, map.blocks[0].qemu_addr + 9), 'Z');
	cr_assert_eq(guest_byte(&g, map.blocks[0].qemu_addr), 'A');
	ram_map_destroy(&map);
	guest_end(&g);
}

static long free_huge_pages(void)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
	long count = 0;

	if (f && fscanf(f, "%ld", &count) != 1)
		count = 0;
	if (f)
		fclose(f);
	return count;
}

static void map_huge_guest(const struct guest *g)
{
	char command[128];

	snprintf(command, sizeof(command), "mount -t hugetlbfs none %s", g->dir);
	if (system(command) != 0)
		_exit(1);
	map_fd(make_file(g->dir, "qemu_back_mem.ram-node0.Zz09qq", 4 * MIB), 4 * MIB,
	       MAP_SHARED | MAP_NORESERVE);
}

/* Its own mount namespace: the guest's mount never shows, nor stays. */
Test(ram_find, huge_pages)
{
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	need_root();
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("no mount namespace");
	if (free_huge_pages() < 2)
		cr_skip_test("needs two free huge pages of 2 MiB");
	guest_start(&g, map_huge_guest);
	cr_assert_eq(ram_find(g.pid, false, &map, &err), 0, "%s", err.text);
	cr_assert_eq(map.count, 1);
	cr_assert_str_eq(map.blocks[0].name, "ram-node0");
	cr_assert_eq(map.blocks[0].page_size, 2 * MIB);
	ram_map_destroy(&map);
	umount2(g.dir, MNT_DETACH);
	guest_end(&g);
}

/* ---- RAM that cannot be used ---- */

static void expect_refusal(guest_maps *maps, enum ram_unusable why, const char *words)
{
	struct ram_find_report report = {0};
	struct errtext err = {0}, refusal = {0};
	struct ram_map map = {0};
	struct guest g;
	bool found = false;

	guest_start(&g, maps);
	cr_assert_eq(ram_find_survey(g.pid, &report, &err), 0, "%s", err.text);
	for (unsigned int i = 0; i < report.count; i++)
		found = found || report.items[i].why == why;
	cr_assert(found, "not reported as %s", ram_unusable_name(why));
	cr_assert_eq(ram_find(g.pid, false, &map, &refusal), -ENOTSUP);
	cr_assert_not_null(strstr(refusal.text, words), "%s", refusal.text);
	cr_assert_eq(map.count, 0);
	guest_end(&g);
}

static void map_private(const struct guest *g)
{
	(void)g;
	map_fd(-1, 48 * MIB, MAP_PRIVATE | MAP_ANONYMOUS);
}

Test(ram_find, private_memory)
{
	expect_refusal(map_private, RAM_UNUSABLE_PRIVATE, "<access mode='shared'/>");
}

static void map_memfd(const struct guest *g)
{
	int fd = memfd_create("memory-backend-memfd", 0);

	if (ftruncate(fd, MIB) < 0)
		_exit(1);
	map_fd(fd, MIB, MAP_SHARED);
	map_libvirt_guest(g);
}

Test(ram_find, memfd_beside_a_file)
{
	expect_refusal(map_memfd, RAM_UNUSABLE_MEMFD, "a memfd");
}

static void map_anonymous(const struct guest *g)
{
	(void)g;
	map_fd(-1, MIB, MAP_SHARED | MAP_ANONYMOUS);
}

Test(ram_find, shared_without_a_file)
{
	expect_refusal(map_anonymous, RAM_UNUSABLE_ANONYMOUS, "without a file");
}

static void map_disk(const struct guest *g)
{
	if (g->disk[0])
		map_fd(make_file(g->disk, "ram/1-vm/pc.ram", MIB), MIB, MAP_SHARED);
}

Test(ram_find, file_on_a_disk)
{
	if (on_tmpfs("/var/tmp"))
		cr_skip_test("/var/tmp is on tmpfs");
	expect_refusal(map_disk, RAM_UNUSABLE_DISK, "memory_backing_dir");
}

static void map_with_hole(const struct guest *g)
{
	char *p = map_fd(make_file(g->dir, "ram/1-vm/pc.ram", 4 * MIB), 4 * MIB, MAP_SHARED);

	munmap(p + MIB, MIB);
}

Test(ram_find, mapped_in_parts)
{
	expect_refusal(map_with_hole, RAM_UNUSABLE_PARTIAL, "only a part");
}

static void map_nothing(const struct guest *g)
{
	(void)g;
}

Test(ram_find, no_ram)
{
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	guest_start(&g, map_nothing);
	cr_assert_eq(ram_find(g.pid, false, &map, &err), -ENOTSUP);
	cr_assert_neq(err.text[0], '\0');
	guest_end(&g);
	err.text[0] = '\0';
	cr_assert_eq(ram_find(g.pid, false, &map, &err), -ESRCH);
}

/* ---- RAM that only QEMU's monitor can name ---- */

/* Where the process has mapped what ends in `path` with that size; 0: nowhere. */
static uint64_t address_of(pid_t pid, const char *path, uint64_t size)
{
	char name[32], line[512];
	uint64_t found = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	f = fopen(name, "r");
	cr_assert_not_null(f);
	while (!found && fgets(line, sizeof(line), f)) {
		unsigned long long start, end;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 && end - start == size &&
		    (*path ? strstr(line, path) != NULL : !strpbrk(line + 40, "/[")))
			found = start;
	}
	fclose(f);
	return found;
}

static void map_guarded(const struct guest *g)
{
	char *p = map_fd(-1, 50 * MIB, MAP_PRIVATE | MAP_ANONYMOUS);

	(void)g;
	mprotect(p, MIB, PROT_NONE);
	mprotect(p + 49 * MIB, MIB, PROT_NONE);
	p[MIB + 5 * 4096] = 1;
}

static struct ram_backends backend(const char *name, uint64_t size, uint64_t addr)
{
	struct ram_backends known = {.count = 1};

	strcpy(known.item[0].name, name);
	known.item[0].size = size;
	known.item[0].addr = addr;
	return known;
}

Test(ram_find, private_memory_that_is_known)
{
	struct ram_backends known;
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	guest_start(&g, map_guarded);
	known = backend("pc.ram", 48 * MIB, address_of(g.pid, "", 48 * MIB));
	cr_assert_neq(known.item[0].addr, 0);
	cr_assert_eq(ram_find_known(g.pid, false, &known, &map, &err), 0, "%s", err.text);
	cr_assert_eq(map.count, 1);
	cr_assert_str_eq(map.blocks[0].name, "pc.ram");
	cr_assert_eq(map.blocks[0].private_to, g.pid);
	cr_assert_eq(map.blocks[0].size, 48 * MIB);
	cr_assert_eq(map.blocks[0].allocated, 4096);
	cr_assert(ram_map_is_strained(&map));
	ram_map_destroy(&map);
	cr_assert_eq(ram_find_known(g.pid, true, &known, &map, &err), 0, "at a destination");
	cr_assert_eq(map.blocks[0].private_to, g.pid);
	ram_map_destroy(&map);
	known.item[0].size += 4096;
	cr_assert_eq(ram_find_known(g.pid, false, &known, &map, &err), -ENOTSUP, "too large");
	guest_end(&g);
}

static void map_private_huge(const struct guest *g)
{
	int fd = memfd_create("huge", MFD_HUGETLB);
	char *p;

	(void)g;
	if (fd < 0 || ftruncate(fd, 32 * MIB) < 0)
		_exit(2);
	p = mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		_exit(3);
	p[4 * MIB] = 1;
}

Test(ram_find, private_huge_pages_that_are_known)
{
	struct ram_backends known;
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	if (free_huge_pages() < 16)
		cr_skip_test("no pool of huge pages");
	guest_start(&g, map_private_huge);
	known = backend("pc.ram", 32 * MIB, address_of(g.pid, "/memfd:huge", 32 * MIB));
	cr_assert_neq(known.item[0].addr, 0);
	cr_assert_eq(ram_find_known(g.pid, false, &known, &map, &err), 0, "%s", err.text);
	cr_assert_eq(map.count, 1);
	cr_assert_eq(map.blocks[0].private_to, g.pid);
	cr_assert_eq(map.blocks[0].page_size, 2 * MIB);
	cr_assert_eq(map.blocks[0].allocated, 2 * MIB);
	ram_map_destroy(&map);
	guest_end(&g);
}

Test(ram_find, a_memfd_that_is_known)
{
	struct ram_backends known;
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	guest_start(&g, map_memfd);
	known = backend("ram-node7", MIB, address_of(g.pid, "/memfd:memory-backend-memfd", MIB));
	cr_assert_neq(known.item[0].addr, 0);
	cr_assert_eq(ram_find_known(g.pid, true, &known, &map, &err), 0, "%s", err.text);
	cr_assert_geq(map.count, 2, "beside the file");
	cr_assert(ram_map_is_strained(&map));
	for (unsigned int i = 0; i < map.count; i++)
		cr_assert_eq(strcmp(map.blocks[i].name, "ram-node7") == 0,
			     map.blocks[i].sent_by_qemu);
	ram_map_destroy(&map);
	known.item[0].size = 2 * MIB;
	cr_assert_eq(ram_find_known(g.pid, true, &known, &map, &err), -ENOTSUP);
	guest_end(&g);
}

/* Beside what can be used, what cannot is not overlooked. */
Test(ram_find, a_known_backend_that_is_nowhere)
{
	struct ram_backends known = backend("dimm3", 64 * MIB, 0x1000);
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g;

	guest_start(&g, map_libvirt_guest);
	cr_assert_eq(ram_find_known(g.pid, false, &known, &map, &err), -ENOTSUP);
	cr_assert_not_null(strstr(err.text, "dimm3"), "%s", err.text);
	cr_assert_eq(map.count, 0);
	guest_end(&g);
}

/* ---- who else has it mapped ---- */

Test(ram_find, other_mappers)
{
	struct errtext err = {0};
	struct ram_map map = {0};
	struct guest g, backend = {0};
	pid_t other = -1;
	char *p;

	guest_start(&g, map_libvirt_guest);
	cr_assert_eq(ram_find(g.pid, true, &map, &err), 0, "%s", err.text);
	cr_assert_eq(ram_other_mappers(&map, g.pid, getpid(), &other, &err), 0, "%s", err.text);
	cr_assert_eq(other, 0);
	/* A backend forked from here has our writable mapping. */
	backend.pid = fork();
	if (backend.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	cr_assert_eq(ram_other_mappers(&map, g.pid, getpid(), &other, &err), 0, "%s", err.text);
	cr_assert_eq(other, backend.pid);
	kill(backend.pid, SIGKILL);
	waitpid(backend.pid, NULL, 0);
	/* Whoever only reads is no danger. */
	p = mmap(NULL, MIB, PROT_READ, MAP_SHARED, map.blocks[0].fd, 0);
	cr_assert_eq(munmap(map.blocks[0].map, MIB), 0);
	map.blocks[0].map = (uint8_t *)p;
	cr_assert_eq(ram_other_mappers(&map, g.pid, 0, &other, &err), 0);
	cr_assert_eq(other, 0);
	ram_map_destroy(&map);
	guest_end(&g);
}
