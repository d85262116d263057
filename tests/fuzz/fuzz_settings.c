// SPDX-License-Identifier: Apache-2.0
// Configuration files: any bytes in; what is accepted is within its limits, what is not has a text.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errtext err = {0};
	struct settings s, copy;

	settings_init(&s);
	if (settings_load_text(&s, "fuzz", (const char *)data, size, &err) < 0) {
		if (strncmp(err.text, "fuzz", 4) != 0)
			abort();
		return 0;
	}
	settings_init(&copy);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (s.value[i].set &&
		    (settings_set(&copy, i, settings_text(&s, i), "option --x", NULL) < 0 ||
		     settings_number(&copy, i) != settings_number(&s, i)))
			abort();
	return 0;
}
