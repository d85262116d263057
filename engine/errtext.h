// SPDX-License-Identifier: Apache-2.0
// The text that goes with a negative errno: which object, what was wrong, what to do.
//
// The caller owns the struct and zeroes it; the lowest layer that knows the object's name fills
// it, once: later calls keep the first text. Not thread-safe; one per thread.
#pragma once

#define ERRTEXT_SIZE 1024

struct errtext {
	char text[ERRTEXT_SIZE];
};

/* Fill e (may be NULL) unless it holds a text already. Returns code, so that a failing function
 * can end in `return errtext_set(e, -EINVAL, ...)`. */
int errtext_set(struct errtext *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A text that somebody else has sent, made fit for a terminal and a log, in place: control
 * characters, those of UTF-8's C1 too, become question marks, the ends of lines blanks. */
void errtext_make_printable(char *text);

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time, and does not know that errno is never negative: it would
 * take failures for successes. */
#define errtext_set(e, code, ...)                                                                  \
	((errtext_set)(e, code, __VA_ARGS__), __builtin_constant_p(code) ? (code) : -1)
#endif
