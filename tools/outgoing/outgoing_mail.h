// SPDX-License-Identifier: Apache-2.0
// Who in the source deals with which mail.
#pragma once

struct mail;
struct outgoing;

/* Note what a mail says, and look up: of struct outgoing's take. Driving thread. */
void outgoing_mail_take(struct outgoing *o, struct mail *mail);
