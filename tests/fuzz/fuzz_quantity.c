// SPDX-License-Identifier: Apache-2.0
// Quantities: any text in; what is accepted is the same again when written as a plain number.
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errtext err = {0};
	uint64_t value, again;
	char *text = malloc(size + 1), plain[24];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (quantity_parse(text, &value, &err) == 0) {
		snprintf(plain, sizeof(plain), "%" PRIu64, value);
		if (quantity_parse(plain, &again, &err) != 0 || again != value)
			abort();
	} else if (!err.text[0]) {
		abort();
	}
	free(text);
	return 0;
}
