// SPDX-License-Identifier: Apache-2.0
// Both ciphers can be tried.
#include "tls_rate.h"

#include <criterion/criterion.h>

Test(tls_rate, both_have_one)
{
	cr_assert_gt(tls_rate(false), 0);
	cr_assert_gt(tls_rate(true), 0);
}
