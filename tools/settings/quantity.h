// SPDX-License-Identifier: Apache-2.0
// Kubernetes quantities: 64Mi, 2048Mi, 1G, 1.5Gi, 1e9, 0.
//
// The notation of resource.Quantity: a whole or decimal number, then a binary suffix (Ki Mi Gi Ti
// Pi Ei), a decimal one (n u m k M G T P E) or a decimal exponent (e9, E9). The result is a whole
// number of the quantity's unit, such as bytes per second; fractions round up, as there. A sign
// '+' is allowed, a negative quantity is an error. Any thread.
#pragma once

#include <stdint.h>
#include "errtext.h"

/* 0; -EINVAL: text is no quantity; -ERANGE: negative, more than UINT64_MAX, or too many digits. The
 * error text quotes the value and shows the accepted form; it does not know whose value it is. */
int quantity_parse(const char *text, uint64_t *value, struct errtext *err);
