// SPDX-License-Identifier: Apache-2.0
// How fast this CPU seals a stream's records.
#pragma once

#include <stdbool.h>

/* The first choice of this host: ChaCha20-Poly1305 where the CPU has no instructions for AES, and
 * AES-128-GCM otherwise. The other side's is the same unless it differs in that; then it is
 * ChaCha's, which the slower one needs. */
bool tls_rate_prefers_chacha(void);
/* MB (10^6 bytes) in a second of one core, of a few milliseconds' trial; 0 if there can be none. */
unsigned int tls_rate(bool chacha);
