// SPDX-License-Identifier: Apache-2.0
// Which of libvirt's calls is which. The numbers are those of remote_protocol.x.
#include "libvirt_rpc.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include "libvirt_message.h"

struct length_row {
	uint32_t word, expected;
};

ParameterizedTestParameters(libvirt_rpc, length_is_checked)
{
	static struct length_row rows[] = {
		{0, 0},
		{4, 0},
		{LIBVIRT_RPC_HEADER_SIZE - 1, 0},
		{LIBVIRT_RPC_HEADER_SIZE, LIBVIRT_RPC_HEADER_SIZE},
		{4096, 4096},
		{LIBVIRT_RPC_MESSAGE_MAX, LIBVIRT_RPC_MESSAGE_MAX},
		{LIBVIRT_RPC_MESSAGE_MAX + 1, 0},
		{INT32_MAX, 0},
		{UINT32_MAX, 0},
	};

	return cr_make_param_array(struct length_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct length_row *row, libvirt_rpc, length_is_checked)
{
	struct libvirt_message m = {0};

	libvirt_put(&m, row->word);
	cr_assert_eq(libvirt_rpc_length(m.bytes), row->expected);
}

struct call_row {
	uint32_t procedure, last;
	enum libvirt_rpc_call expected;
};

ParameterizedTestParameters(libvirt_rpc, calls_are_told_apart)
{
	static struct call_row rows[] = {
		{1, 1, LIBVIRT_RPC_OPEN},
		{LIBVIRT_BEGIN3, 1, LIBVIRT_RPC_OTHER},
		{LIBVIRT_PREPARE3, 1, LIBVIRT_RPC_OTHER},
		{LIBVIRT_PERFORM3, 0, LIBVIRT_RPC_PERFORM},
		{LIBVIRT_PERFORM3, 1, LIBVIRT_RPC_PERFORM},
		{LIBVIRT_FINISH3, 1, LIBVIRT_RPC_OTHER},
		{LIBVIRT_CONFIRM3, 0, LIBVIRT_RPC_CONFIRM},
		{LIBVIRT_CONFIRM3, 1, LIBVIRT_RPC_CONFIRM_CANCELLED},
		{LIBVIRT_BEGIN3_PARAMS, 1, LIBVIRT_RPC_OTHER},
		{LIBVIRT_PERFORM3_PARAMS, 0, LIBVIRT_RPC_PERFORM},
		{LIBVIRT_FINISH3_PARAMS, 1, LIBVIRT_RPC_FINISH},
		{LIBVIRT_CONFIRM3_PARAMS, 0, LIBVIRT_RPC_CONFIRM},
		{LIBVIRT_CONFIRM3_PARAMS, 1, LIBVIRT_RPC_CONFIRM_CANCELLED},
		{LIBVIRT_CONFIRM3_PARAMS, UINT32_MAX, LIBVIRT_RPC_CONFIRM_CANCELLED},
	};

	return cr_make_param_array(struct call_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct call_row *row, libvirt_rpc, calls_are_told_apart)
{
	for (size_t body = 0; body <= 64; body += 4) {
		struct libvirt_message m = libvirt_call(row->procedure, 5, body, row->last);

		cr_assert_eq(libvirt_rpc_classify(m.bytes, m.len), row->expected, "body %zu", body);
	}
}

/* A reply, an event, a stream's packet: none of them is a call. */
struct word_row {
	size_t at;
	uint32_t word;
};

ParameterizedTestParameters(libvirt_rpc, only_calls_of_the_remote_program_count)
{
	static struct word_row rows[] = {
		{4, 0x20008087}, {4, 0}, {16, 1}, {16, 2}, {16, 3},
	};

	return cr_make_param_array(struct word_row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct word_row *row, libvirt_rpc, only_calls_of_the_remote_program_count)
{
	struct libvirt_message m = libvirt_call(LIBVIRT_PERFORM3_PARAMS, 1, 8, 0);
	size_t len = m.len;

	m.len = row->at;
	libvirt_put(&m, row->word);
	cr_assert_eq(libvirt_rpc_classify(m.bytes, len), LIBVIRT_RPC_OTHER);
}

/* Each in memory of exactly its size, so that a sanitizer sees an over-read. */
Test(libvirt_rpc, cut_messages_are_nothing)
{
	struct libvirt_message m = libvirt_call(LIBVIRT_CONFIRM3_PARAMS, 1, 0, 1);

	for (size_t len = 0; len < m.len; len++) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, m.bytes, len);
		cr_assert_eq(libvirt_rpc_classify(cut, len), LIBVIRT_RPC_OTHER);
		free(cut);
	}
}

Test(libvirt_rpc, keep_alive_has_a_program_of_its_own)
{
	struct libvirt_message m = libvirt_call(1, 0, 0, 0);
	const uint32_t program = htobe32(0x6b656570);

	memcpy(m.bytes + 4, &program, sizeof(program));
	cr_assert_eq(libvirt_rpc_classify(m.bytes, m.len), LIBVIRT_RPC_KEEPALIVE);
}
