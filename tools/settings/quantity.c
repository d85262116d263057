// SPDX-License-Identifier: Apache-2.0
// Kubernetes quantities, in integers: digits * 2^shift * 10^exponent, rounded up at the end.
//
// At most 20 significant digits (67 bits) and a shift of at most 60 fit into 128 bits.
#include "quantity.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DIGITS_MAX 20
#define EXPONENT_MAX 1000
#define FORM "0, 64Mi, 1.5Gi, 1G or 1e9"

struct decimal {
	unsigned __int128 digits;
	int significant; /* digits in it */
	int exponent;	 /* of 10 */
	int shift;	 /* of 2 */
};

static const struct suffix {
	const char *text;
	int exponent, shift;
} suffixes[] = {
	{"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},
	{"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
	{"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Zeros behind the last other digit only move the exponent, so `0.5000...` has one digit. */
static int add_digits(struct decimal *d, const char *from, const char *to, int step)
{
	for (const char *p = from; p < to; p++, d->exponent += step) {
		if (!d->significant && *p == '0')
			continue;
		if (d->significant == DIGITS_MAX)
			return -ERANGE;
		d->digits = d->digits * 10 + (unsigned int)(*p - '0');
		d->significant++;
	}
	return 0;
}

/* Where the number ends, or NULL if there is none or it has too many digits. */
static const char *scan_number(const char *text, struct decimal *d, int *ret)
{
	const char *p = text, *fraction, *end;

	*ret = -EINVAL;
	while (is_digit(*p))
		p++;
	end = p;
	fraction = *p == '.' ? ++p : p;
	while (is_digit(*p))
		p++;
	if (p - text - (fraction != end) == 0)
		return NULL;
	*ret = add_digits(d, text, end, 0);
	end = p;
	while (fraction < end && end[-1] == '0')
		end--;
	if (!*ret)
		*ret = add_digits(d, fraction, end, -1);
	return *ret ? NULL : p;
}

static int scan_exponent(const char *p, struct decimal *d)
{
	int sign = *p == '-' ? -1 : 1, n = 0;

	if (*p == '-' || *p == '+')
		p++;
	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++)
		if (n < EXPONENT_MAX)
			n = n * 10 + (*p - '0');
	d->exponent += sign * n;
	return *p ? -EINVAL : 0;
}

static int scan_suffix(const char *p, struct decimal *d)
{
	if ((*p == 'e' || *p == 'E') && p[1] && p[1] != 'i')
		return scan_exponent(p + 1, d);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++)
		if (strcmp(p, suffixes[i].text) == 0) {
			d->exponent += suffixes[i].exponent;
			d->shift = suffixes[i].shift;
			return 0;
		}
	return -EINVAL;
}

static int evaluate(const struct decimal *d, uint64_t *value)
{
	unsigned __int128 n = d->digits << d->shift;
	bool rest = false;

	for (int i = d->exponent; i > 0 && n; i--) {
		if (n > UINT64_MAX)
			return -ERANGE;
		n *= 10;
	}
	for (int i = d->exponent; i < 0 && n; i++) {
		rest |= n % 10 != 0;
		n /= 10;
	}
	if (n + rest > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)n + rest;
	return 0;
}

int quantity_parse(const char *text, uint64_t *value, struct errtext *err)
{
	const char *p = text + (*text == '+' || *text == '-');
	struct decimal d = {0};
	int ret = -EINVAL;

	p = scan_number(p, &d, &ret);
	if (p)
		ret = scan_suffix(p, &d);
	if (!ret && *text == '-')
		return errtext_set(err, -ERANGE,
				   "'%.64s' is negative: a quantity such as " FORM " is needed",
				   text);
	if (!ret)
		ret = evaluate(&d, value);
	if (ret == -ERANGE)
		return errtext_set(err, ret,
				   "'%.64s' is too large or has more than %d digits: a quantity "
				   "below 16Ei such as " FORM " is needed",
				   text, DIGITS_MAX);
	if (ret)
		return errtext_set(
			err, ret,
			"'%.64s' is no quantity: a number with at most one suffix (n u "
			"m k M G T P E Ki Mi Gi Ti Pi Ei) or exponent is needed, such as " FORM,
			text);
	return 0;
}
