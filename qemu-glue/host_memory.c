// SPDX-License-Identifier: Apache-2.0
// How much memory a guest could still get on this host.
//
// Whoever gets more than there is brings the kernel to kill something, perhaps another guest. So a
// guest that cannot fit is refused; one that may fit is not: what is called too little is too
// little. Therefore all counts that can be had in the end:
//
//  - MemAvailable: free memory, and the caches that the kernel would give up for it.
//  - Free swap: what lies idle on this host can go there. With zram that is more than there is.
//    Rejected: to leave swap out, which would refuse guests on hosts that are overcommitted by
//    intention, and which run well so.
//  - In a control group what its limit leaves, and its page cache; and as much swap as the group
//    may still have.
//
// What other migrations to this host have been promised and have not received yet is not deducted.
#include "host_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cleanup.h"
#include "libvirt_address.h"
#include "process_root.h"
#include "saturating.h"

#define GROUP_SIZE (HOST_MEMORY_WHERE_MAX - 16)
#define PATH_SIZE (GROUP_SIZE + 64)

/* The number behind a key at a line's begin, or 0. */
static uint64_t read_key(int root, const char *path, const char *key)
{
	_cleanup_fclose_ FILE *f = process_root_read(root, path);
	size_t len = strlen(key);
	char line[256];
	uint64_t value;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, len) == 0 &&
		    sscanf(line + len, "%*[: ]%" SCNu64, &value) == 1)
			return value;
	return 0;
}

/* A file of one number; UINT64_MAX: "max", or there is no such file, as at the root of all. */
static uint64_t read_number(int root, const char *path)
{
	_cleanup_fclose_ FILE *f = process_root_read(root, path);
	uint64_t value;

	return f && fscanf(f, "%" SCNu64, &value) == 1 ? value : UINT64_MAX;
}

static uint64_t less_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- one control group ---- */

/* What a limit leaves; UINT64_MAX: there is none. */
static uint64_t left_of(int root, const char *group, const char *kind)
{
	char path[PATH_SIZE];
	uint64_t most, has;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.%smax", group, kind);
	most = read_number(root, path);
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.%scurrent", group, kind);
	has = read_number(root, path);
	if (most == UINT64_MAX || has == UINT64_MAX)
		return UINT64_MAX;
	return has < most ? most - has : 0;
}

static uint64_t free_in(int root, const char *group, uint64_t swap)
{
	uint64_t left = left_of(root, group, "");
	char path[PATH_SIZE];

	if (left == UINT64_MAX)
		return left;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", group);
	left = saturating_add(left, read_key(root, path, "inactive_file"));
	left = saturating_add(left, read_key(root, path, "active_file"));
	return saturating_add(left, less_of(swap, left_of(root, group, "swap.")));
}

/* ---- all of a process ---- */

/* Its path in the unified hierarchy; the empty one is that of the root. */
static void find_group(int root, pid_t pid, char group[GROUP_SIZE])
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[GROUP_SIZE];

	group[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	f = process_root_read(root, path);
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4) != 0 || strstr(line, "/..") || !strchr(line, '\n'))
			continue; /* of another hierarchy, or out of our sight */
		line[strcspn(line, "\n")] = '\0';
		strcpy(group, strcmp(line, "0::/") == 0 ? "" : line + 3);
	}
}

static void look_at_groups(int root, pid_t pid, uint64_t swap, struct host_memory *out)
{
	char group[GROUP_SIZE];

	find_group(root, pid, group);
	while (group[0]) {
		uint64_t has = free_in(root, group, swap);

		if (has < out->free) {
			out->free = has;
			snprintf(out->where, sizeof(out->where), "control group %s", group);
		}
		*strrchr(group, '/') = '\0';
	}
}

void host_memory_look_below(int root, pid_t pid, struct host_memory *out)
{
	uint64_t available = read_key(root, "/proc/meminfo", "MemAvailable");
	uint64_t swap = read_key(root, "/proc/meminfo", "SwapFree") << 10;

	*out = (struct host_memory){.free = UINT64_MAX, .where = "this host"};
	if (available)
		out->free = saturating_add(available << 10, swap);
	if (pid)
		look_at_groups(root, pid, swap, out);
}

void host_memory_look(const char *daemon, struct host_memory *out)
{
	_cleanup_close_ int root = process_root_open(0);
	struct libvirt_address address = {.pid = 0};
	struct errtext ignored = {0};

	if (daemon)
		libvirt_address_look(daemon, &address, &ignored);
	host_memory_look_below(root, address.pid, out);
}
