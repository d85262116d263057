// SPDX-License-Identifier: Apache-2.0
// Between libFuzzer and a harness: ends the process when the harness was given FUZZ_BYTES bytes
// (100 million), and says how many inputs these were.
//
// libFuzzer counts inputs and seconds, which say little of how much a parser was tried.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int harness_input(const uint8_t *data, size_t size); /* the harness's, by another name */

static uint64_t bytes_wanted(void)
{
	const char *text = getenv("FUZZ_BYTES");
	uint64_t bytes = text ? strtoull(text, NULL, 10) : 0;

	return bytes ? bytes : 100000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t wanted, bytes, inputs;

	if (!wanted)
		wanted = bytes_wanted();
	harness_input(data, size);
	bytes += size;
	inputs++;
	if (bytes < wanted)
		return 0;
	fprintf(stderr, "measured: %llu inputs, %llu bytes\n", (unsigned long long)inputs,
		(unsigned long long)bytes);
	_exit(EXIT_SUCCESS); /* what is found is on disk already; exit itself is an error to
				libFuzzer */
}
