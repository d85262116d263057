// SPDX-License-Identifier: Apache-2.0
// A definition, and a cookie of libvirt's, from another host: judged with all that an operator can
// agree to, with none of it, and for a container. What is agreed to never makes it stricter.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "definition_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UUID "c9574db9-a7d5-4092-ac4c-3986c4bf2acf"

static int judge(const char *xml, unsigned int agreed, bool contained)
{
	const struct definition_policy policy = {
		.uuid = UUID, .name = "cap", .agreed = agreed, .contained = contained};
	struct errtext err = {0};
	int ret = definition_check(xml, &policy, &err);

	if (ret > 0 || (ret < 0) != (err.text[0] != '\0'))
		abort();
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct definition_policy policy = {.uuid = UUID, .name = "cap"};
	const unsigned int all =
		DEFINITION_QEMU_ARGUMENTS | DEFINITION_HOST_DEVICES | DEFINITION_FILE_SYSTEMS;
	char *xml = malloc(size + 1);
	int strict;

	if (!xml)
		abort();
	memcpy(xml, data, size);
	xml[size] = '\0';
	strict = judge(xml, 0, false);
	if (judge(xml, all, false) < 0 && strict == 0)
		abort();
	if (judge(xml, 0, true) < 0 && strict == 0)
		abort();
	definition_check_cookie(xml, &policy, NULL);
	free(xml);
	return 0;
}
