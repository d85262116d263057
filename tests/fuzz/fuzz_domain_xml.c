// SPDX-License-Identifier: Apache-2.0
// Domain XML: any text in, and what comes out must be a domain XML again, with our monitor or
// without.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "domain_conditions.h"
#include "domain_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *xml, const char *expected)
{
	char path[128];
	int ret = domain_xml_monitor_path(xml, path, sizeof(path));

	if (expected ? ret != 0 || strcmp(path, expected) != 0 : ret == 0)
		abort();
}

/* Both parsers agree on what is a domain; a judgement always has at least one condition of each
 * type. */
static void check_conditions(const char *xml, const struct domain_facts *facts)
{
	const struct lane_facts lane = {0};
	struct conditions c = {0};
	struct domain_devices devices;

	if (domain_devices_read(xml, &devices, NULL) < 0)
		abort();
	domain_judge_devices(facts, &devices, &c);
	domain_judge_live(facts->name, &c);
	domain_judge_lane(facts, &lane, &c);
	if (!conditions_have_type(&c, CONDITION_LIVE_MIGRATABLE) ||
	    !conditions_have_type(&c, CONDITION_DIRECT_LANE))
		abort();
	conditions_destroy(&c);
	domain_devices_destroy(&devices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errtext err = {0}, verdict = {0};
	struct domain_facts facts;
	char *xml = malloc(size + 1), *with, *without;

	if (!xml)
		return 0;
	memcpy(xml, data, size);
	xml[size] = '\0';
	if (domain_xml_facts(xml, &facts, &err) == 0) {
		domain_ready_for_direct(&facts, &verdict);
		check_conditions(xml, &facts);
	}
	with = domain_xml_for_destination(xml, "/run/a,b/monitor", size % 2, &err);
	if (with) {
		check_path(with, "/run/a,b/monitor");
		without = domain_xml_without_monitor(with, &err);
		if (!without)
			abort();
		check_path(without, NULL);
		free(without);
	}
	free(with);
	free(xml);
	return 0;
}
