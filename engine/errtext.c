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

void errtext_make_printable(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c == '\n')
			*c = ' '; /* nobody else's line begins within ours */
		else if (*c < ' ' || *c == 0x7f)
			*c = '?';
		else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			c[0] = c[1] = '?';
	}
}
