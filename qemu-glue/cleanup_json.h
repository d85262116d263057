// SPDX-License-Identifier: Apache-2.0
// cleanup.h for JSON: a reference that is given back when its scope ends.
#pragma once

#include <json-c/json_object.h>
#include "cleanup.h"

static inline void cleanup_json(json_object **o)
{
	json_object_put(*o);
}

#define _cleanup_json_ _cleanup_(cleanup_json)
