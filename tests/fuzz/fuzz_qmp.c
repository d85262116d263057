// SPDX-License-Identifier: Apache-2.0
// QMP: whatever a monitor sends after it has been opened properly.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "qmp.h"

#define OPENING "{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n"
#define INPUT_MAX 32768 /* fits into a socket's buffer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *opaque, const char *name, json_object *data, uint64_t time_us)
{
	size_t *sum = opaque;

	*sum += strlen(name) + strlen(json_object_to_json_string(data)) + (size_t)time_us;
}

/* The first byte decides whether the opening is there. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errtext err = {0};
	json_object *ret = NULL;
	struct qmp *q = NULL;
	size_t sum = 0;
	int pair[2];

	if (size == 0 || size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 0;
	if (data[0] != 'x' && write(pair[1], OPENING, strlen(OPENING)) < 0)
		_exit(1);
	if (write(pair[1], data + 1, size - 1) < 0)
		_exit(1);
	shutdown(pair[1], SHUT_WR);
	if (qmp_adopt(pair[0], "fuzz", 1000, &q, &err) == 0) {
		qmp_on_event(q, on_event, &sum);
		qmp_execute(q, "query-status", NULL, 1000, &ret, &err);
		json_object_put(ret);
		while (qmp_process(q, &err) == 0)
			;
		qmp_close(q);
	}
	close(pair[1]);
	return 0;
}
