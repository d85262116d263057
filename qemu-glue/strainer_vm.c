// SPDX-License-Identifier: Apache-2.0
// Sections of QEMU's migration stream, and what stands between them.
#include <errno.h>
#include <inttypes.h>
#include "strainer_private.h"

#define VM_MAGIC 0x5145564du
#define VM_VERSION 3u
#define RAM_VERSION 4u

enum vm_type {
	VM_SECTION_START = 0x01,
	VM_SECTION_PART = 0x02,
	VM_SECTION_END = 0x03,
	VM_SECTION_FULL = 0x04,
	VM_SUBSECTION = 0x05,
	VM_CONFIGURATION = 0x07,
	VM_COMMAND = 0x08,
	VM_SECTION_FOOTER = 0x7e,
};

enum vm_command {
	VM_COMMAND_OPEN_RETURN_PATH = 1,
	VM_COMMAND_PING = 2,
	VM_COMMAND_SWITCHOVER_START = 11, /* QEMU 10.0 and later, when the guest has stopped */
};

/* ---- between sections ---- */

static int take_header(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t magic = strainer_be32(s->head), version = strainer_be32(s->head + 4);

	if (magic != VM_MAGIC || version != VM_VERSION)
		return strainer_misfit(s, to,
				       "it begins with %08" PRIx32 " and version %" PRIu32
				       ", not with QEVM and 3",
				       magic, version);
	return strainer_keep_head(s, to, STRAINER_TYPE, 1);
}

static bool may_always(const struct strainer *s)
{
	(void)s;
	return true;
}

static bool may_begin(const struct strainer *s)
{
	return !s->begun;
}

static bool may_go_on(const struct strainer *s)
{
	return s->ram == STRAINER_RAM_BEGUN;
}

/* Its name is gathered only to be told. */
static bool may_be_named(const struct strainer *s)
{
	return s->ram != STRAINER_RAM_ENDED;
}

static bool may_close(const struct strainer *s)
{
	return s->footer_due;
}

static const struct vm_row {
	enum vm_type type;
	bool (*may)(const struct strainer *s);
	enum strainer_step next;
	size_t size;
} vm_rows[] = {
	{VM_CONFIGURATION, may_begin, STRAINER_CONFIGURATION, 4},
	{VM_SUBSECTION, may_always, STRAINER_SUBSECTION_LENGTH, 1},
	{VM_COMMAND, may_always, STRAINER_COMMAND, 4},
	{VM_SECTION_START, may_always, STRAINER_START_LENGTH, 5},
	{VM_SECTION_PART, may_go_on, STRAINER_SECTION, 4},
	{VM_SECTION_END, may_go_on, STRAINER_SECTION, 4},
	{VM_SECTION_FULL, may_be_named, STRAINER_START_LENGTH, 5},
	{VM_SECTION_FOOTER, may_close, STRAINER_FOOTER, 4},
};

static const struct vm_row *vm_row(uint8_t type)
{
	for (size_t i = 0; i < sizeof(vm_rows) / sizeof(vm_rows[0]); i++)
		if (vm_rows[i].type == type)
			return &vm_rows[i];
	return NULL;
}

static int take_type(struct strainer *s, const struct strainer_sink *to)
{
	uint8_t type = s->head[0];
	const struct vm_row *row = vm_row(type);
	bool may = row && row->may(s);

	s->begun = true;
	s->footer_due = false;
	if (may) {
		s->starts = type == VM_SECTION_START;
		s->ends = type == VM_SECTION_END;
		return strainer_keep_head(s, to, row->next, row->size);
	}
	if (s->ram != STRAINER_RAM_ENDED || (row && type != VM_SECTION_FULL))
		return strainer_misfit(s, to, "it has a section of type 0x%02x %s", type,
				       s->ram == STRAINER_RAM_ENDED
					       ? "after the end of RAM"
					       : "before the end of RAM, out of place");
	atomic_store_explicit(&s->past_ram, true, memory_order_relaxed);
	return strainer_keep_head(s, to, STRAINER_PASS, 1);
}

static int take_configuration(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t n = strainer_be32(s->head);

	if (n > STRAINER_NAME_MAX)
		return strainer_misfit(s, to, "the machine type's name has %" PRIu32 " bytes", n);
	strainer_set_body(s, n, true);
	return strainer_keep_head(s, to, STRAINER_TYPE, 1);
}

/* It is gathered only to be told of. */
static int take_subsection_length(struct strainer *s, const struct strainer_sink *to)
{
	if (!s->head[0])
		return strainer_misfit(s, to, "its configuration has a part without a name");
	strainer_gather(s, STRAINER_SUBSECTION, s->head[0]);
	return 0;
}

static int take_subsection(struct strainer *s, const struct strainer_sink *to)
{
	return strainer_misfit(s, to,
			       "its configuration has the part '%.*s', of a capability that is on",
			       (int)s->need, s->head);
}

static int take_command(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t command = strainer_be16(s->head), n = strainer_be16(s->head + 2);
	bool known = command == VM_COMMAND_PING
			     ? n == 4
			     : n == 0 && (command == VM_COMMAND_OPEN_RETURN_PATH ||
					  command == VM_COMMAND_SWITCHOVER_START);

	if (!known)
		return strainer_misfit(s, to, "it has command %" PRIu32 " with %" PRIu32 " bytes",
				       command, n);
	strainer_set_body(s, n, true);
	return strainer_keep_head(s, to, STRAINER_TYPE, 1);
}

static int take_footer(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t id = strainer_be32(s->head);

	if (id != s->ram_id)
		return strainer_misfit(s, to,
				       "the section of RAM closes as %" PRIu32 ", not %" PRIu32, id,
				       s->ram_id);
	return strainer_keep_head(s, to, STRAINER_TYPE, 1);
}

/* ---- sections ---- */

static int take_start_length(struct strainer *s, const struct strainer_sink *to)
{
	uint8_t n = s->head[4];

	if (!n)
		return strainer_misfit(s, to, "a section has no name");
	if (s->ram == STRAINER_RAM_AWAITED)
		s->ram_id = strainer_be32(s->head);
	return strainer_keep_head(s, to, STRAINER_START, n + 8u);
}

static int take_start(struct strainer *s, const struct strainer_sink *to)
{
	size_t n = s->need - 8;
	uint32_t version = strainer_be32(s->head + n + 4);

	if (!s->starts || n != 3 || memcmp(s->head, "ram", 3) != 0)
		return strainer_misfit(s, to, "'%.*s' sends its state while the guest runs", (int)n,
				       s->head);
	if (s->ram != STRAINER_RAM_AWAITED)
		return strainer_misfit(s, to, "its RAM begins twice");
	if (version != RAM_VERSION)
		return strainer_misfit(s, to, "its RAM has version %" PRIu32 ", not %u", version,
				       RAM_VERSION);
	s->ram = STRAINER_RAM_BEGUN;
	return strainer_keep_head(s, to, STRAINER_ITEM, 8);
}

static int take_section(struct strainer *s, const struct strainer_sink *to)
{
	uint32_t id = strainer_be32(s->head);

	if (id != s->ram_id)
		return strainer_misfit(s, to, "section %" PRIu32 " goes on, and RAM's is %" PRIu32,
				       id, s->ram_id);
	return strainer_keep_head(s, to, STRAINER_ITEM, 8);
}

/* ---- the interface ---- */

static int (*const take[])(struct strainer *s, const struct strainer_sink *to) = {
	[STRAINER_HEADER] = take_header,
	[STRAINER_TYPE] = take_type,
	[STRAINER_CONFIGURATION] = take_configuration,
	[STRAINER_SUBSECTION_LENGTH] = take_subsection_length,
	[STRAINER_SUBSECTION] = take_subsection,
	[STRAINER_COMMAND] = take_command,
	[STRAINER_START_LENGTH] = take_start_length,
	[STRAINER_START] = take_start,
	[STRAINER_SECTION] = take_section,
	[STRAINER_FOOTER] = take_footer,
};

_Static_assert(sizeof(take) / sizeof(take[0]) == STRAINER_ITEM, "a row for each step before");

int strainer_vm_take(struct strainer *s, const struct strainer_sink *to)
{
	return take[s->step](s, to);
}
