// SPDX-License-Identifier: Apache-2.0
// Where a partly done scatter/gather transfer goes on.
#include <assert.h>
#include <string.h>
#include "iov_cursor.h"

void iov_cursor_set(struct iov_cursor *c, const struct iovec *iov, unsigned int n)
{
	assert(n >= 1 && n <= IOV_MAX);
	memcpy(c->iov, iov, n * sizeof(*iov));
	c->first = 0;
	c->n = n;
	c->left = 0;
	for (unsigned int i = 0; i < n; i++)
		c->left += iov[i].iov_len;
}

void iov_cursor_advance(struct iov_cursor *c, size_t bytes)
{
	assert(bytes <= c->left);
	c->left -= bytes;
	while (c->first < c->n && bytes >= c->iov[c->first].iov_len)
		bytes -= c->iov[c->first++].iov_len;
	if (bytes) {
		c->iov[c->first].iov_base = (char *)c->iov[c->first].iov_base + bytes;
		c->iov[c->first].iov_len -= bytes;
	}
}

unsigned int iov_cursor_window(const struct iov_cursor *c, size_t limit, struct iovec out[IOV_MAX])
{
	unsigned int n = c->n - c->first, used = 0;

	if (limit >= c->left) {
		memcpy(out, c->iov + c->first, n * sizeof(*out));
		return n;
	}
	while (limit) {
		out[used] = c->iov[c->first + used];
		if (out[used].iov_len > limit)
			out[used].iov_len = limit;
		limit -= out[used++].iov_len;
	}
	return used;
}
