// SPDX-License-Identifier: Apache-2.0
// Requests to a running migration: whatever a client writes on a line.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "json_field.h"
#include "live_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_values(json_object *values, size_t size)
{
	json_object_object_foreach(values, key, value)
	{
		if (strlen(key) + strlen(json_object_get_string(value)) > size)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errtext err = {0};
	struct live_request r;
	int ret = live_request_parse((const char *)data, size, &r, &err);

	/* What was taken must be what the handlers may rely on, and a refusal must have a text. */
	if ((ret < 0 && (!*err.text || r.values)) || (ret == 0 && size >= LIVE_REQUEST_MAX) ||
	    (ret == 0 && (r.command == LIVE_SET) != (r.values != NULL)))
		abort();
	if (r.values)
		check_values(r.values, size);
	live_request_destroy(&r);
	return 0;
}
