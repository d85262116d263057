// SPDX-License-Identifier: Apache-2.0
// The destination of a bench: serves one source on a listening socket, until that one hangs up.
#pragma once

#include "errtext.h"

struct tls_credentials;

/* credentials: NULL for plain; borrowed, as is the listener. What goes wrong is told to the source,
 * too. 0: the source has ended in good order; or a negative errno with a text. */
int bench_sink_serve(int listener, struct tls_credentials *credentials, struct errtext *err);
