// SPDX-License-Identifier: Apache-2.0
// What a session shares with the threads of its other connections.
#include "incoming_joined.h"

#include "incoming_private.h"
#include "tunnel_filter.h"

void incoming_joined_prepare(struct incoming *in)
{
	pthread_mutex_lock(&in->receiver->lock);
	in->joined.prepared = true;
	pthread_mutex_unlock(&in->receiver->lock);
}

void incoming_joined_open(struct incoming *in, struct destination *destination)
{
	pthread_mutex_lock(&in->receiver->lock);
	in->joined.destination = destination;
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

void incoming_joined_release(struct incoming *in)
{
	struct incoming_joined *j = &in->joined;

	pthread_mutex_lock(&in->receiver->lock);
	j->released = true; /* a stream of QEMU's that comes later flows at once */
	if (j->qemu_stream)
		pump_release(j->qemu_stream);
	pthread_cond_broadcast(&in->receiver->changed);
	pthread_mutex_unlock(&in->receiver->lock);
}

void incoming_joined_renew_secret(struct incoming *in, const struct tls_secret *secret)
{
	if (!tls_secret_is_set(secret))
		return;
	pthread_mutex_lock(&in->receiver->lock);
	in->joined.secret = *secret;
	pthread_mutex_unlock(&in->receiver->lock);
}

void incoming_joined_cut_tunnels(struct incoming *in)
{
	struct incoming_joined *j = &in->joined;

	pthread_mutex_lock(&in->receiver->lock);
	j->tunnels_cut = true;
	for (unsigned int i = 0; i < j->tunnel_count; i++) {
		tunnel_filter_cut(j->tunnels[i].filter);
		pump_stop(j->tunnels[i].pump);
	}
	pthread_mutex_unlock(&in->receiver->lock);
}

bool incoming_joined_has_called(struct incoming *in)
{
	struct incoming_joined *j = &in->joined;
	bool called = false;

	pthread_mutex_lock(&in->receiver->lock);
	for (unsigned int i = 0; i < j->tunnel_count; i++)
		called = called || tunnel_filter_has_prepared(j->tunnels[i].filter);
	pthread_mutex_unlock(&in->receiver->lock);
	return called;
}

bool incoming_joined_lost_tunnels(struct incoming *in)
{
	struct incoming_joined *j = &in->joined;
	bool lost;

	pthread_mutex_lock(&in->receiver->lock);
	lost = j->tunnel_count;
	for (unsigned int i = 0; i < j->tunnel_count; i++)
		lost = lost && tunnel_filter_has_lost_daemon(j->tunnels[i].filter);
	pthread_mutex_unlock(&in->receiver->lock);
	return lost;
}

void incoming_joined_end(struct incoming *in)
{
	struct receiver *r = in->receiver;

	pthread_mutex_lock(&r->lock);
	in->joined.ending = true;
	incoming_stream_cut_ram(in);
	if (in->postcopy.faults)
		fault_handler_stop(in->postcopy.faults);
	if (in->postcopy.placer)
		placer_hurry(in->postcopy.placer, true);
	incoming_stream_cut_pages(in);
	pthread_cond_broadcast(&r->changed);
	while (in->joined.users)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void incoming_joined_stop_qemu_stream(struct incoming *in)
{
	if (in->joined.qemu_stream)
		pump_stop(in->joined.qemu_stream);
}

void incoming_joined_close(struct incoming *in)
{
	destination_destroy(in->joined.destination);
	in->joined.destination = NULL;
}

void incoming_joined_destroy(struct incoming *in)
{
	struct incoming_joined *j = &in->joined;

	for (unsigned int i = 0; i < j->tunnel_count; i++) {
		pump_destroy(j->tunnels[i].pump);
		tunnel_filter_destroy(j->tunnels[i].filter);
	}
	pump_destroy(j->qemu_stream);
	incoming_joined_close(in);
}
