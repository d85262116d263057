// SPDX-License-Identifier: Apache-2.0
// Records of TLS 1.3: those of RFC 8448, and what is none.
#include "tls_record.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define PAYLOAD 50
#define INNER (PAYLOAD + 1)
#define SIZE (TLS_RECORD_HEAD + INNER + TLS_RECORD_TAG)

/* RFC 8448, 3: client_application_traffic_secret_0, and the client's first record under it. */
static const struct tls_traffic client = {
	.secret = {0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a, 0xf8,
		   0x88, 0x9b, 0xce, 0x65, 0x52, 0x87, 0x5a, 0xfa, 0x0b, 0x06, 0xdf,
		   0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7, 0xc1, 0x75, 0x04, 0xa5},
};
static const uint8_t record[SIZE] = {
	0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa,
	0xfe, 0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc,
	0xab, 0x3f, 0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20,
	0x44, 0x1e, 0x2b, 0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd,
	0x1e, 0x3d, 0xea, 0xe6, 0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4};

static void count_up(uint8_t payload[PAYLOAD])
{
	for (unsigned int i = 0; i < PAYLOAD; i++)
		payload[i] = (uint8_t)i;
}

static struct tls_record *new (const struct tls_traffic *traffic, bool seals)
{
	struct tls_record *r;

	cr_assert_eq(tls_record_new(traffic, seals, &r), 0);
	return r;
}

Test(tls_record, the_rfc_s_is_sealed_from_pieces)
{
	struct tls_record *r = new (&client, true);
	uint8_t payload[PAYLOAD], out[PAYLOAD + TLS_RECORD_OVERHEAD];
	struct iovec from[] = {{payload, 7}, {payload + 7, 0}, {payload + 7, PAYLOAD - 7}};

	count_up(payload);
	cr_assert_eq(tls_record_seal(r, TLS_DATA, from, 3, out), SIZE);
	cr_assert_arr_eq(out, record, SIZE);
	cr_assert_eq(tls_record_count(r), 1);
	tls_record_destroy(r);
}

Test(tls_record, the_rfc_s_is_opened_into_pieces)
{
	struct tls_record *r = new (&client, false);
	uint8_t payload[PAYLOAD], expected[PAYLOAD], type = 0;
	struct iovec to[] = {{payload, 31}, {payload + 31, PAYLOAD - 31}, {&type, 1}};

	count_up(expected);
	cr_assert_eq(tls_record_size(record, SIZE), SIZE);
	cr_assert_eq(tls_record_inner(SIZE), INNER);
	cr_assert_eq(tls_record_open(r, record, SIZE, to, 3), 0);
	cr_assert_arr_eq(payload, expected, PAYLOAD);
	cr_assert_eq(type, TLS_DATA);
	tls_record_destroy(r);
}

Test(tls_record, the_number_counts)
{
	struct tls_traffic later = client;
	struct tls_record *r;
	uint8_t inner[INNER];

	later.records = 1;
	r = new (&later, false);
	cr_assert_eq(tls_record_open(r, record, SIZE, &(struct iovec){inner, INNER}, 1), -EPROTO);
	tls_record_destroy(r);
}

Test(tls_record, each_changed_byte_is_noticed)
{
	for (unsigned int i = 0; i < SIZE; i++) {
		struct tls_record *r = new (&client, false);
		uint8_t changed[SIZE], inner[INNER];

		memcpy(changed, record, SIZE);
		changed[i] ^= 0x40;
		cr_assert_eq(tls_record_open(r, changed, SIZE, &(struct iovec){inner, INNER}, 1),
			     -EPROTO, "byte %u", i);
		tls_record_destroy(r);
	}
}

Test(tls_record, both_ciphers_go_on_with_a_new_key)
{
	for (int chacha = 0; chacha < 2; chacha++) {
		struct tls_traffic traffic = client;
		struct tls_record *from, *to;
		uint8_t payload[PAYLOAD], sealed[2][SIZE], inner[INNER];

		traffic.chacha = chacha;
		from = new (&traffic, true);
		to = new (&traffic, false);
		count_up(payload);
		for (int i = 0; i < 2; i++) {
			struct iovec piece = {payload, PAYLOAD};

			cr_assert_eq(tls_record_seal(from, TLS_DATA, &piece, 1, sealed[i]), SIZE);
			cr_assert_eq(tls_record_open(to, sealed[i], SIZE,
						     &(struct iovec){inner, INNER}, 1),
				     0);
			cr_assert_arr_eq(inner, payload, PAYLOAD);
			cr_assert_eq(tls_record_renew(from), 0);
			cr_assert_eq(tls_record_renew(to), 0);
			cr_assert_eq(tls_record_count(from), 0);
		}
		cr_assert_arr_neq(sealed[0], sealed[1], SIZE);
		tls_record_destroy(from);
		tls_record_destroy(to);
	}
}

Test(tls_record, what_is_none)
{
	const struct {
		uint8_t head[TLS_RECORD_HEAD];
		ssize_t size;
	} rows[] = {
		{{0x17, 3, 3, 0, 17}, 22},	    /* the type alone */
		{{0x17, 3, 3, 0, 16}, -EPROTO},	    /* not even that */
		{{0x17, 3, 3, 0x41, 0}, 5 + 16640}, /* 2^14 + 256 */
		{{0x17, 3, 3, 0x41, 1}, -EPROTO},
		{{0x16, 3, 3, 0, 67}, -EPROTO}, /* a handshake in the open */
		{{0x14, 3, 3, 0, 67}, -EPROTO},
		{{0x15, 3, 3, 0, 67}, -EPROTO},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		cr_assert_eq(tls_record_size(rows[i].head, TLS_RECORD_HEAD), rows[i].size,
			     "row %zu", i);
		cr_assert_eq(tls_record_size(rows[i].head, TLS_RECORD_HEAD - 1), 0);
	}
}
