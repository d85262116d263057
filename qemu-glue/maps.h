// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps, parsed.
//
// Any thread; no shared state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct maps_entry {
	uint64_t start, end; /* addresses in the process */
	uint64_t first_end;  /* end of the first of the lines that were put together */
	uint64_t offset;     /* bytes into the file */
	bool writable, executable, shared;
	unsigned int dev_major, dev_minor;
	uint64_t ino; /* 0: no file */
	char *path;   /* "" for none */
};

struct maps {
	size_t count;
	struct maps_entry *entries; /* owned, paths too; in address order */
};

/* Parse one line in place: path points into it afterwards. False if it is none. */
bool maps_parse_line(char *line, struct maps_entry *e);

/* Read the whole map of the process whose /proc directory this is; lines that continue each
 * other in address and file are one entry. */
int maps_read(int proc_fd, struct maps *maps);
void maps_destroy(struct maps *maps);

/* Open a file of a /proc directory for reading; NULL with errno set. */
FILE *maps_fopen(int proc_fd, const char *name);
