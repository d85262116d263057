// SPDX-License-Identifier: Apache-2.0
// A number of bytes for people: "12.3 MiB".
#pragma once

#include <stdint.h>

#define SIZE_TEXT_SIZE 32

/* Returns buf. */
const char *size_text(uint64_t bytes, char buf[SIZE_TEXT_SIZE]);
