// SPDX-License-Identifier: Apache-2.0
// Feeds every file of a directory to a fuzz harness: its corpus as an ordinary test.
//
// Each input is copied to memory of exactly its size, so that a sanitizer sees an over-read.
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int replay_file(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "rb");
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st))
		return -errno;
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data)
		return -ENOMEM;
	if (fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		return -EIO;
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	return 0;
}

/* Number of files replayed, or a negative errno. */
static int replay_directory(const char *directory)
{
	_cleanup_(cleanup_closedir) DIR *dir = opendir(directory);
	const struct dirent *entry;
	int count = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		_cleanup_free_ char *path = NULL;
		int rc;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s", directory, entry->d_name) < 0)
			return -ENOMEM;
		rc = replay_file(path);
		if (rc) {
			fprintf(stderr, "%s: %s\n", path, strerror(-rc));
			return rc;
		}
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	int count;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return EXIT_FAILURE;
	}
	count = replay_directory(argv[1]);
	if (count < 0) {
		fprintf(stderr, "%s: cannot replay: %s\n", argv[1], strerror(-count));
		return EXIT_FAILURE;
	}
	printf("%s: %d inputs replayed\n", argv[1], count);
	if (!count)
		fprintf(stderr, "%s: no inputs: a corpus must not be empty\n", argv[1]);
	return count ? EXIT_SUCCESS : EXIT_FAILURE;
}
