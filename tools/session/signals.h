// SPDX-License-Identifier: Apache-2.0
// The signals by which a user ends dray: SIGINT and SIGTERM, read from a descriptor.
#pragma once

/* Before any thread is started, which all inherit it: the two arrive only at signals_open's
 * descriptors; SIGPIPE is ignored, as writes tell. */
void signals_block(void);
/* A blocking descriptor to read a struct signalfd_siginfo from: the caller's. Negative errno. */
int signals_open(void);
