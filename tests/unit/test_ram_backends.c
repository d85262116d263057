// SPDX-License-Identifier: Apache-2.0
// Memory backends, from what QEMU's monitor says of them.
#include "ram_backends.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

TestSuite(ram_backends, .timeout = 20);

/* What the monitor answers; NULL: an error. */
static const char *memdevs, *tree, *address_format;

static int ask(void *opaque, const char *command, json_object **ret, struct errtext *err)
{
	unsigned long long at;
	const char *hva = strstr(command, "gpa2hva");
	char text[128];

	cr_assert_eq(opaque, &tree);
	if (strstr(command, "query-memdev"))
		*ret = memdevs ? json_tokener_parse(memdevs) : NULL;
	else if (strstr(command, "\"command-line\":\"info mtree -f\""))
		*ret = tree ? json_object_new_string(tree) : NULL;
	else if (hva && sscanf(hva, "gpa2hva 0x%llx", &at) == 1) {
		/* Everything lies 0x7f0000000000 higher, and from 4 GiB on a gigabyte lower. */
		unsigned long long there = at + 0x7f0000000000 - (at >> 32 ? 0x40000000 : 0);

		snprintf(text, sizeof(text), address_format, at, there);
		*ret = json_object_new_string(text);
	} else {
		cr_assert_fail("asked %s", command);
	}
	return *ret ? 0 : errtext_set(err, -EREMOTEIO, "refused");
}

#define IS_AT "Host virtual address for 0x%llx (x) is 0x%llx\r\n"

static int look(struct ram_backends *out, struct errtext *err)
{
	*err = (struct errtext){0};
	if (!address_format)
		address_format = IS_AT;
	return ram_backends_read(ask, &tree, out, err);
}

Test(ram_backends, one)
{
	struct ram_backends b;
	struct errtext err;

	memdevs = "[{\"share\":false,\"size\":268435456,\"id\":\"pc.ram\"}]";
	tree = "FlatView #0\r\n AS \"I/O\", root: io\r\n Root memory region: io\r\n"
	       "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\r\n\r\n"
	       "FlatView #1\r\n"
	       "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram\r\n"
	       "  00000000000c0000-00000000000dffff (prio 0, rom): pc.rom\r\n"
	       "  0000000000100000-000000000fffffff (prio 0, ram): pc.ram "
	       "@0000000000100000\r\n";
	cr_assert_eq(look(&b, &err), 0, "%s", err.text);
	cr_assert_eq(b.count, 1);
	cr_assert_str_eq(b.item[0].name, "pc.ram");
	cr_assert_eq(b.item[0].size, 268435456);
	cr_assert_eq(b.item[0].addr, 0x7f0000000000);
	cr_assert_eq(ram_backends_at(&b, 0x7f0000000000), &b.item[0]);
	cr_assert_null(ram_backends_at(&b, 0x7f0000001000));
	cr_assert_null(ram_backends_at(NULL, 0x7f0000000000));
	cr_assert_eq(ram_backends_within(&b, 0x7effff000000, 0x7f0010000000), &b.item[0]);
	cr_assert_null(ram_backends_within(&b, 0x7effff000000, 0x7f000fffffff));
	cr_assert_null(ram_backends_within(&b, 0x7f0000000001, 0x7f1000000000));
}

/* Nodes of one size, an older machine's names, one with an accelerator's word, and memory that the
 * guest does not have. */
Test(ram_backends, several)
{
	struct ram_backends b;
	struct errtext err;

	memdevs = "[{\"size\":1073741824,\"id\":\"ram-node10\"},"
		  "{\"size\":1073741824,\"id\":\"ram-node1\"},"
		  "{\"size\":4096,\"id\":\"unplugged\"},{\"size\":8192},{\"id\":\"x\"},"
		  "{\"size\":1,\"id\":null}]";
	tree = "  0000000000000000-000000003fffffff (prio 0, ram): /objects/ram-node10 KVM\n"
	       "  0000000140000000-000000017fffffff (prio 0, ram): /objects/ram-node1 "
	       "@0000000000001000 KVM\n";
	cr_assert_eq(look(&b, &err), 0, "%s", err.text);
	cr_assert_eq(b.count, 2);
	cr_assert_str_eq(b.item[0].name, "ram-node10");
	cr_assert_eq(b.item[0].addr, 0x7f0000000000);
	cr_assert_str_eq(b.item[1].name, "ram-node1");
	cr_assert_eq(b.item[1].addr, 0x7f0000000000 + 0x140000000 - 0x40000000 - 0x1000);
}

Test(ram_backends, answers_that_are_none)
{
	struct ram_backends b;
	struct errtext err;

	memdevs = NULL;
	cr_assert_eq(look(&b, &err), -EREMOTEIO);
	memdevs = "{}";
	tree = NULL;
	cr_assert_eq(look(&b, &err), -EREMOTEIO);
	tree = "";
	cr_assert_eq(look(&b, &err), 0);
	cr_assert_eq(b.count, 0);
	memdevs = "[{\"size\":4096,\"id\":\"pc.ram\"}]";
	tree = "  junk (prio 0, ram): pc.ram\n  0000-zzz (prio 0, ram): pc.ramp\n(prio 0, ram): ";
	cr_assert_eq(look(&b, &err), 0);
	cr_assert_eq(b.count, 0);
	tree = " 0000000000001000-0000000000001fff (prio 0, ram): pc.ram";
	address_format = "No memory is mapped at address 0x%llx%.0llx\r\n";
	cr_assert_eq(look(&b, &err), -EPROTO);
	cr_assert(strstr(err.text, "No memory is mapped"), "%s", err.text);
	address_format = IS_AT;
	tree = " 0000000000001000-0000000000001fff (prio 0, ram): pc.ram @00007fffffffffff";
	cr_assert_eq(look(&b, &err), -EPROTO);
}
