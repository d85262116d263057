// SPDX-License-Identifier: Apache-2.0
// The status of a running migration for people.
#pragma once

#include <json-c/json.h>
#include <stdio.h>

/* A few aligned lines; members that are missing are left out. */
void status_text_print(json_object *status, FILE *to);
