// SPDX-License-Identifier: Apache-2.0
// Old records go.
//
// The record of a guest that came is what a source is answered by that was killed at the hand-over,
// so it stays after the arrival. A source that asks only after days, when it has gone, gets no
// answer, which is safe: it then decides nothing by itself.
#include "record_sweep.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "monitor_log.h"
#include "record.h"

static bool is_old(const struct guest_dir *d, uint64_t older_than_s)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/incoming", d->path);
	return stat(path, &st) == 0 && st.st_mtime + (time_t)older_than_s < time(NULL);
}

/* libvirt's directory outlives a reboot, and with it what QEMU wrote there. Nobody asks the log
 * when there is no record; a QEMU that runs goes on without its name. */
static void sweep_logs(uint64_t older_than_s)
{
	DIR *dir = opendir(GUEST_DIR_MONITORS);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char uuid[37], own[MONITOR_LOG_PATH_MAX];
		struct guest_dir d;
		struct stat st;

		if (sscanf(entry->d_name, "dray-%36[0-9a-f-]", uuid) != 1)
			continue;
		guest_dir_paths(&d, uuid);
		monitor_log_path(d.monitor, own);
		if (strcmp(strrchr(own, '/') + 1, entry->d_name) == 0 && access(d.path, F_OK) < 0 &&
		    stat(own, &st) == 0 && st.st_mtime + (time_t)older_than_s < time(NULL))
			unlink(own);
	}
	if (dir)
		closedir(dir);
}

static void sweep_one(const char *uuid, uint64_t older_than_s)
{
	struct guest_dir d;
	struct record r = {0};

	guest_dir_paths(&d, uuid);
	if (!is_old(&d, older_than_s) || guest_dir_open(&d, uuid, -1, -1, NULL) < 0)
		return;
	if (is_old(&d, older_than_s) && record_read(&d, RECORD_INCOMING, &r, NULL) == 0 &&
	    record_is_over(&r))
		record_remove(&d, RECORD_INCOMING);
	record_destroy(&r);
	guest_dir_close(&d);
}

void record_sweep(uint64_t older_than_s)
{
	DIR *dir = opendir(GUEST_DIR_ROOT);
	const struct dirent *entry;
	uuid_t bytes;

	while (dir && (entry = readdir(dir)))
		if (uuid_parse(entry->d_name, bytes) == 0)
			sweep_one(entry->d_name, older_than_s);
	if (dir)
		closedir(dir);
	sweep_logs(older_than_s);
}
