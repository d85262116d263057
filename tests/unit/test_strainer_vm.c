// SPDX-License-Identifier: Apache-2.0
// What the strainer does not take, of sections and what is between them.
#include "strainer.h"

#include "qemu_stream.h"

TestSuite(strainer_vm, .timeout = 60);

static void other_magic(struct qemu_stream *s)
{
	put(s, "QEVN\0\0\0\3", 8);
}

static void other_version(struct qemu_stream *s)
{
	put(s, "QEVM\0\0\0\2", 8);
}

static void long_machine_name(struct qemu_stream *s)
{
	put_header(s);
	put_u8(s, 7);
	put_be32(s, 256);
}

static void second_configuration(struct qemu_stream *s)
{
	put_header(s);
	put_configuration(s, "pc");
	put_configuration(s, "pc");
}

static void late_configuration(struct qemu_stream *s)
{
	put_header(s);
	put_command(s, 1, NULL, 0);
	put_configuration(s, "pc");
}

static void capabilities(struct qemu_stream *s)
{
	put_header(s);
	put_configuration(s, "pc");
	put_u8(s, 5);
	put_name(s, "configuration/capabilities\n");
}

static void nameless_subsection(struct qemu_stream *s)
{
	put_header(s);
	put_u8(s, 5);
	put_u8(s, 0);
}

static void postcopy_advise(struct qemu_stream *s)
{
	put_header(s);
	put_command(s, 3, "0123456789abcdef", 16);
}

static void long_ping(struct qemu_stream *s)
{
	put_header(s);
	put_command(s, 2, "12345", 5);
}

static void early_device(struct qemu_stream *s)
{
	put_header(s);
	put_device_state(s);
}

static void early_device_in_ram(struct qemu_stream *s)
{
	put_setup(s);
	put_device_state(s);
}

static void early_ram(struct qemu_stream *s)
{
	put_header(s);
	put_start(s, "ram", 4);
	s->bytes[8] = 4;
}

static void early_end(struct qemu_stream *s)
{
	put_setup(s);
	put_u8(s, 0);
}

static void other_iterable(struct qemu_stream *s)
{
	put_header(s);
	put_start(s, "dirty-\x1b[2J", 1);
}

static void iterable_after_ram(struct qemu_stream *s)
{
	put_setup(s);
	put_section(s, 3);
	put_section_end(s);
	put_start(s, "vfio", 1);
}

static void part_after_ram(struct qemu_stream *s)
{
	put_setup(s);
	put_section(s, 3);
	put_section_end(s);
	put_section(s, 2);
}

static void ram_twice(struct qemu_stream *s)
{
	put_setup(s);
	put_start(s, "ram", 4);
}

static void ram_version(struct qemu_stream *s)
{
	put_header(s);
	put_start(s, "ram", 5);
}

static void nameless_section(struct qemu_stream *s)
{
	put_header(s);
	put_start(s, "", 5);
}

static void part_before_ram(struct qemu_stream *s)
{
	put_header(s);
	put_section(s, 2);
}

static void foreign_part(struct qemu_stream *s)
{
	put_setup(s);
	put_u8(s, 2);
	put_be32(s, RAM_ID + 1);
}

static void foreign_footer(struct qemu_stream *s)
{
	put_beginning(s);
	put_be64(s, ITEM_EOS);
	put_u8(s, 0x7e);
	put_be32(s, RAM_ID + 1);
}

static void second_footer(struct qemu_stream *s)
{
	put_setup(s);
	put_section(s, 0x7e);
}

static const struct misfit misfits[] = {
	{other_magic, "begins with 5145564e and version 3"},
	{other_version, "and version 2"},
	{long_machine_name, "name has 256 bytes"},
	{second_configuration, "type 0x07"},
	{late_configuration, "type 0x07"},
	{capabilities, "'configuration/capabilities '"},
	{nameless_subsection, "part without a name"},
	{postcopy_advise, "command 3 with 16 bytes"},
	{long_ping, "command 2 with 5 bytes"},
	{early_device, "'cpu' sends its state while the guest runs"},
	{early_device_in_ram, "'cpu' sends its state"},
	{early_ram, "'ram' sends its state"},
	{early_end, "type 0x00 before the end of RAM"},
	{other_iterable, "'dirty-?[2J' sends its state"},
	{iterable_after_ram, "'vfio' sends its state"},
	{part_after_ram, "type 0x02 after the end of RAM"},
	{ram_twice, "RAM begins twice"},
	{ram_version, "version 5, not 4"},
	{nameless_section, "section has no name"},
	{part_before_ram, "type 0x02 before the end of RAM"},
	{foreign_part, "section 3 goes on"},
	{foreign_footer, "closes as 3, not 2"},
	{second_footer, "type 0x7e"},
};

Test(strainer_vm, says_what_it_does_not_take)
{
	expect_misfits(misfits, sizeof(misfits) / sizeof(misfits[0]));
}
