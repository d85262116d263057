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
#include "process.h"
#include "record.h"

#define MINUTE_S 60u

const struct record_ages record_ages_usual = {
	.arrived_s = 7 * 86400, .unreleased_s = 86400, .unreleased_max = 256};

static bool is_older(const struct guest_dir *d, uint64_t age_s)
{
	int64_t written_s = record_written_s(d, RECORD_INCOMING);

	return written_s && written_s + (int64_t)age_s < time(NULL);
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

/* The one that was started for it. */
static bool has_qemu(const struct record *r)
{
	uint64_t started;

	return r->qemu > 0 && process_started(r->qemu, &started, NULL) == 0 &&
	       started == r->qemu_started;
}

/* A source may still ask what became of a guest whose release it sent, and which never came. */
static bool was_never_released(const struct guest_dir *d, struct record *r)
{
	record_judge(d, r, true);
	return !r->released && !r->resumed && !has_qemu(r);
}

/* Removes the record if it is older than its kind becomes; true: it is one that was never released,
 * and stays. */
static bool sweep_record(const struct guest_dir *d, const struct record_ages *ages, bool may_remove)
{
	char log[MONITOR_LOG_PATH_MAX];
	struct record r = {0};
	bool never, goes;

	if (record_read(d, RECORD_INCOMING, &r, NULL) < 0)
		return false;
	never = was_never_released(d, &r);
	goes = is_older(d, never ? ages->unreleased_s : ages->arrived_s) &&
	       (never || record_is_over(&r));
	if (goes && may_remove) {
		record_remove(d, RECORD_INCOMING);
		monitor_log_path(d->monitor, log);
		if (never)
			unlink(log);
	}
	record_destroy(&r);
	return never && !(goes && may_remove);
}

static bool sweep_one(const char *uuid, const struct record_ages *ages)
{
	struct guest_dir d;
	bool stays;

	guest_dir_paths(&d, uuid);
	if (!is_older(&d, ages->unreleased_s))
		return sweep_record(&d, ages, false);
	if (guest_dir_open(&d, uuid, -1, -1, NULL) < 0)
		return false; /* it is worked on */
	stays = sweep_record(&d, ages, true);
	guest_dir_close(&d);
	return stays;
}

/* How many stay that were never released. */
static unsigned int sweep_all(const struct record_ages *ages)
{
	DIR *dir = opendir(GUEST_DIR_ROOT);
	const struct dirent *entry;
	unsigned int stay = 0;
	uuid_t bytes;

	while (dir && (entry = readdir(dir)))
		if (uuid_parse(entry->d_name, bytes) == 0)
			stay += sweep_one(entry->d_name, ages);
	if (dir)
		closedir(dir);
	return stay;
}

void record_sweep(const struct record_ages *ages)
{
	struct record_ages now = *ages;

	while (sweep_all(&now) > ages->unreleased_max && now.unreleased_s > MINUTE_S)
		now.unreleased_s =
			now.unreleased_s / 2 > MINUTE_S ? now.unreleased_s / 2 : MINUTE_S;
	sweep_logs(ages->arrived_s);
}
