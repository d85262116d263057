// SPDX-License-Identifier: Apache-2.0
// Which guest is meant.
//
// A name may be that of several: of the one that libvirt has here now, and of others that left or
// came before, and are known by their records alone. What matters of these is a migration that is
// not settled yet, so
//
//   the guest that libvirt has, if its migration is not settled
//   else the one guest of that name whose migration is not settled; if there are more, none of them
//   else the guest that libvirt has
//   else the one that was heard of last
//
// A UUID is nobody else's.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>
#include "libvirt_host.h"
#include "recover_private.h"

#define GUESTS_MAX 8 /* of one name; there is no room to tell of more */

struct candidate {
	char uuid[37], session[2 * WIRE_SESSION_SIZE + 1], host[64];
	enum record_kind kind;
	int64_t written_s;
	bool settled, ours; /* ours: of the libvirt that is asked */
};

struct candidates {
	const char *domain, *socket; /* borrowed */
	enum record_kind kind;	     /* of the records that are looked through */
	unsigned int count;
	struct candidate of[GUESTS_MAX]; /* the newest first */
};

static bool is_settled(enum record_kind kind, const struct record *r)
{
	return kind == RECORD_INCOMING && record_is_over(r);
}

static void add(struct candidates *c, const struct candidate *fresh)
{
	unsigned int at = 0;

	while (at < c->count && c->of[at].written_s >= fresh->written_s)
		at++;
	if (at == GUESTS_MAX)
		return;
	if (c->count < GUESTS_MAX)
		c->count++;
	memmove(&c->of[at + 1], &c->of[at], (c->count - at - 1) * sizeof(c->of[0]));
	c->of[at] = *fresh;
}

/* Of record_find, which is to look at all records: it is never the one. A guest whose departure is
 * recorded has been noted already. */
static bool note(const struct record *r, const void *what)
{
	struct candidates *c = *(struct candidates *const *)what;
	struct candidate fresh = {.kind = c->kind, .settled = is_settled(c->kind, r)};
	struct guest_dir dir;

	if (strcmp(r->domain, c->domain) != 0)
		return false;
	for (unsigned int i = 0; i < c->count; i++)
		if (strcmp(c->of[i].uuid, r->uuid) == 0)
			return false;
	guest_dir_paths(&dir, r->uuid);
	fresh.written_s = record_written_s(&dir, c->kind);
	fresh.ours = record_is_of_daemon(r, c->socket);
	snprintf(fresh.uuid, sizeof(fresh.uuid), "%s", r->uuid);
	snprintf(fresh.session, sizeof(fresh.session), "%s", r->session);
	snprintf(fresh.host, sizeof(fresh.host), "%.*s", (int)sizeof(fresh.host) - 1, r->host);
	add(c, &fresh);
	return false;
}

static void look(struct candidates *c)
{
	struct guest_dir dir;
	struct record r;

	c->kind = RECORD_OUTGOING;
	record_find(c->kind, note, &c, &dir, &r, NULL);
	c->kind = RECORD_INCOMING;
	record_find(c->kind, note, &c, &dir, &r, NULL);
}

/* Those of another daemon's guests, as of another launcher's, count if there are no others. */
static bool is_open(const struct candidates *c, const struct candidate *one)
{
	bool ours = false;

	for (unsigned int i = 0; i < c->count; i++)
		ours |= c->of[i].ours && !c->of[i].settled;
	return !one->settled && (one->ours || !ours);
}

static const struct candidate *find_open(const struct candidates *c, const char *uuid,
					 unsigned int *count)
{
	const struct candidate *found = NULL;

	*count = 0;
	for (unsigned int i = 0; i < c->count; i++) {
		const struct candidate *one = &c->of[i];

		if (!is_open(c, one) || (uuid && strcmp(one->uuid, uuid) != 0))
			continue;
		found = found ? found : one;
		++*count;
	}
	return found;
}

static int list(const struct candidates *c, struct errtext *err)
{
	char text[ERRTEXT_SIZE - 256] = "";
	size_t len = 0;

	for (unsigned int i = 0; i < c->count; i++) {
		const struct candidate *one = &c->of[i];

		if (is_open(c, one) && len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s%s (%s%.40s, %s)", len ? "; " : "", one->uuid,
						one->kind == RECORD_OUTGOING ? "to " : "came to ",
						one->host[0] ? one->host : "this host",
						one->session);
	}
	return errtext_set(err, -ENOTUNIQ,
			   "domain %s: migrations of several guests of that name are not settled: "
			   "%s (the newest first; in brackets where to, and the migration's "
			   "number). Name one by its UUID",
			   c->domain, text);
}

static int choose(const struct candidates *c, const char *here, char uuid[37], struct errtext *err)
{
	const struct candidate *found = NULL;
	unsigned int count;

	if (here)
		found = find_open(c, here, &count);
	if (!found)
		found = find_open(c, NULL, &count);
	if (found && count > 1)
		return list(c, err);
	if (!found && !here && c->count > 0)
		found = &c->of[0];
	if (!found && !here)
		return -ENOENT;
	snprintf(uuid, 37, "%s", found ? found->uuid : here);
	return 0;
}

int recover_find(const struct recover_options *options, struct host *host, char uuid[37],
		 struct errtext *err)
{
	struct candidates c = {.domain = options->domain};
	struct domain_info info = {0};
	struct errtext why = {0};
	char socket[108] = "";
	uuid_t bytes;
	int ret, found;

	if (uuid_parse(options->domain, bytes) == 0) {
		uuid_unparse_lower(bytes, uuid);
		return 0;
	}
	found = host ? host_find(host, options->domain, &info, &why) : -ENOENT;
	host_socket_path(options->libvirt_socket, socket, NULL);
	c.socket = socket;
	look(&c);
	ret = choose(&c, found == 0 ? info.uuid : NULL, uuid, err);
	return ret == -ENOENT ? errtext_set(err, found, "%s", why.text) : ret;
}
