// SPDX-License-Identifier: Apache-2.0
// The status for people: what is there is shown, and nothing that a terminal would obey.
#include "status_text.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "json_field.h"

TestSuite(status_text, .timeout = 20);

struct row {
	char status[700];
	char expected[700];
};

ParameterizedTestParameters(status_text, prints)
{
	static struct row rows[] = {
		{"{}", "- (-)\n"},
		{"{\"domain\":\"web\",\"uuid\":\"1-2\",\"direction\":\"outgoing\",\"host\":\"b\","
		 "\"phase\":\"pre-copy\",\"mode\":\"PreCopy\",\"lane\":\"direct\",\"tls\":true,"
		 "\"started\":\"2026-11-20T16:14:05Z\",\"elapsed_ms\":12345,\"round\":3,"
		 "\"remaining_bytes\":155189248,\"transferred_bytes\":429078938,"
		 "\"total_bytes\":1073741824,\"dirty_bytes_per_s\":20971520,"
		 "\"bytes_per_s\":134217728,\"eta_ms\":1260,\"bandwidth\":134217728,"
		 "\"max_downtime_ms\":300,\"post_copy\":false,\"throttle_percent\":20,"
		 "\"queued_ahead\":1,\"decision\":\"another round\",\"pid\":4711}",
		 "web (1-2) outgoing, b\n"
		 "  phase     pre-copy, round 3, 1 ahead of it\n"
		 "  lane      direct, PreCopy, TLS yes\n"
		 "  time      for 12.3 s, since 2026-11-20T16:14:05Z, about 1.3 s to go\n"
		 "  memory    148.0 MiB left, of 1.0 GiB, 409.2 MiB sent\n"
		 "  rate      128.0 MiB/s, dirty 20.0 MiB/s\n"
		 "  limits    bandwidth 128.0 MiB/s, max-downtime 300 ms, post-copy no\n"
		 "  throttle  20 %\n"
		 "  decision  another round\n"
		 "  process   4711\n"},
		{"{\"domain\":\"web\",\"uuid\":\"1-2\",\"round\":0,\"queued_ahead\":0,"
		 "\"throttle_percent\":0,\"bandwidth\":0,\"post_copy\":true,\"eta_ms\":0}",
		 "web (1-2)\n"
		 "  limits    bandwidth none, post-copy yes\n"},
		{"{\"uuid\":\"1-2\",\"error\":\"does not answer\"}",
		 "- (1-2)\n"
		 "  error     does not answer\n"},
		{"{\"domain\":\"a\\u001b[2Jb\\n\\u009bc\",\"pid\":-1,\"phase\":{\"x\":1},"
		 "\"total_bytes\":1e300,\"bytes_per_s\":\"fast\"}",
		 "a [2Jb   c (-)\n"
		 "  phase     { \"x\": 1 }\n"
		 "  memory    of 909494.7 TiB\n"
		 "  process   0\n"},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *row, status_text, prints)
{
	_cleanup_json_ json_object *status = json_tokener_parse(row->status);
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	cr_assert_not_null(status);
	status_text_print(status, to);
	fclose(to);
	cr_assert_str_eq(text, row->expected, "%s", text);
	free(text);
}
