// SPDX-License-Identifier: Apache-2.0
// Guests in post-copy that a killed process has left here, before anybody carries on with them.
//
// Their sessions begin anew when their sources connect, which may take as long as a network is cut.
// What was borrowed from their QEMUs cannot wait for that: with x-ignore-shared still on, whoever
// saved such a guest would do so without its memory. So a thread of the receiver gives that back.
#pragma once

#include "incoming_world.h"

struct incoming_leftover;

/* Looks at the records that there are now, each again until it is done; a guest that has a session,
 * in whichever process, is left to that. libvirt_socket is borrowed. NULL if there is no thread to
 * be had. */
struct incoming_leftover *incoming_leftover_start(const struct incoming_world *world,
						  const char *libvirt_socket);
/* Ends the thread, done or not. NULL is fine. */
void incoming_leftover_end(struct incoming_leftover *l);
