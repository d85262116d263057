// SPDX-License-Identifier: Apache-2.0
// Record of kept RAM: any JSON in; what is accepted comes out the same, and opens nothing else.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ram_keep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct ram_keep *keep)
{
	json_object *o = ram_keep_to_json(keep);
	struct ram_keep again = {0};

	if (ram_keep_from_json(o, &again, NULL) < 0 || again.count != keep->count)
		abort();
	for (unsigned int i = 0; i < keep->count; i++) {
		const struct ram_keep_block *a = &keep->blocks[i], *b = &again.blocks[i];

		if (strcmp(a->name, b->name) != 0 || a->size != b->size ||
		    a->page_size != b->page_size || a->fd != b->fd || a->dev != b->dev ||
		    a->ino != b->ino)
			abort();
	}
	ram_keep_destroy(&again);
	json_object_put(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ram_keep keep = {0};
	struct ram_map map = {0};
	char *text = malloc(size + 1);
	json_object *o;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	o = json_tokener_parse(text);
	if (ram_keep_from_json(o, &keep, NULL) == 0) {
		check_again(&keep);
		ram_reopen(getpid(), &keep, &map, NULL);
		ram_map_destroy(&map);
	}
	ram_keep_destroy(&keep);
	json_object_put(o);
	free(text);
	return 0;
}
