// SPDX-License-Identifier: Apache-2.0
// Fills an error text, once.
#include "errtext.h"

#include <stdarg.h>
#include <stdio.h>

#undef errtext_set /* what the analyzer is given instead */

int errtext_set(struct errtext *e, int code, const char *fmt, ...)
{
	va_list args;

	if (!e || e->text[0])
		return code;
	va_start(args, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, args);
	va_end(args);
	return code;
}
