// SPDX-License-Identifier: Apache-2.0
// XXH3, by the widest instructions that the CPU has, where the library was built to choose: a page
// in the cache takes a third of the time. The hashes are the same.
#pragma once

#include <xxhash.h>
#ifdef DRAY_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>
#endif
