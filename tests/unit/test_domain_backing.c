// SPDX-License-Identifier: Apache-2.0
// What makes a guest ready.
#include "domain_backing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "domain_xml.h"

static char *backing_of(const char *inside, struct errtext *err)
{
	char xml[1024];

	snprintf(xml, sizeof(xml), "<domain><name>web</name>%s</domain>", inside);
	return domain_backing_for(xml, err);
}

#define FILE_SHARED                                                                                \
	"<memoryBacking>\n  <source type=\"file\"/>\n  <access mode=\"shared\"/>\n"                \
	"</memoryBacking>"

Test(domain_backing, of_all_kinds_of_memory)
{
	static const struct {
		const char *inside, *out;
	} cases[] = {
		{"", FILE_SHARED},
		{"<memoryBacking>\n    <source type='memfd'/>\n  </memoryBacking>", FILE_SHARED},
		{"<memoryBacking><source type='anonymous'/><access mode='private'/>"
		 "</memoryBacking>",
		 FILE_SHARED},
		{"<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages>"
		 "<source type='memfd'/></memoryBacking>",
		 "<memoryBacking>\n  <hugepages>\n    <page size=\"2048\" unit=\"KiB\"/>\n"
		 "  </hugepages>\n  <access mode=\"shared\"/>\n</memoryBacking>"},
		{"<memoryBacking><locked/></memoryBacking>",
		 "<memoryBacking>\n  <locked/>\n  <source type=\"file\"/>\n"
		 "  <access mode=\"shared\"/>\n</memoryBacking>"},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct errtext err = {0};
		char *text = backing_of(cases[i].inside, &err), xml[1024];
		struct domain_facts facts;

		cr_assert_not_null(text, "%s", err.text);
		cr_expect_str_eq(text, cases[i].out);
		/* It does what it is for. */
		snprintf(xml, sizeof(xml), "<domain><name>web</name>%s</domain>", text);
		cr_assert_eq(domain_xml_facts(xml, &facts, &err), 0, "%s", err.text);
		cr_expect_eq(domain_ready_for_direct(&facts, &err), 0, "%s", err.text);
		cr_expect_not(domain_is_strained(&facts));
		free(text);
	}
}

Test(domain_backing, a_cell_that_says_by_itself_that_it_is_private)
{
	struct errtext err = {0};

	cr_assert_null(
		backing_of("<cpu><numa><cell id='0' memAccess='private'/></numa></cpu>", &err));
	cr_assert(strstr(err.text, "1 of its NUMA cells"), "%s", err.text);
	cr_assert_null(domain_backing_for("<x/>", &err));
}
