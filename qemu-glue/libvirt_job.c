// SPDX-License-Identifier: Apache-2.0
// libvirt's managed migration, run in a thread of its own.
#include "libvirt_job.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleanup.h"
#include "libvirt_address.h"

struct libvirt_job {
	pthread_t thread;
	char source_uri[LIBVIRT_URI_SIZE], destination_uri[LIBVIRT_URI_SIZE], *stream_uri;
	char *uuid, *destination_xml, *persistent_xml;
	void (*done)(void *opaque, int result, const char *text);
	void *opaque;
};

static int add(virTypedParameterPtr *params, int *n, int *max, const char *name, const char *value)
{
	return virTypedParamsAddString(params, n, max, name, value);
}

static virDomainPtr migrate(struct libvirt_job *job, virDomainPtr dom, virConnectPtr to)
{
	unsigned int flags = VIR_MIGRATE_LIVE;
	virTypedParameterPtr params = NULL;
	virDomainPtr arrived = NULL;
	int n = 0, max = 0;
	int bad = add(&params, &n, &max, VIR_MIGRATE_PARAM_URI, job->stream_uri) < 0 ||
		  add(&params, &n, &max, VIR_MIGRATE_PARAM_DEST_XML, job->destination_xml) < 0;

	if (job->persistent_xml) {
		flags |= VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;
		bad |= add(&params, &n, &max, VIR_MIGRATE_PARAM_PERSIST_XML, job->persistent_xml) <
		       0;
	}
	if (!bad)
		arrived = virDomainMigrate3(dom, to, params, n, flags);
	virTypedParamsFree(params, n);
	return arrived;
}

static int failure(void)
{
	/* An error of the connection itself, as opposed to one that a daemon has sent. */
	if (virGetLastErrorDomain() == VIR_FROM_RPC)
		return -ECONNRESET;
	switch (virGetLastErrorCode()) {
	case VIR_ERR_OPERATION_ABORTED: /* noted while Perform has not been called, and told only
					 * then */
		return -ECANCELED;
	case VIR_ERR_RPC:
	case VIR_ERR_NO_CONNECT:
		return -ECONNRESET;
	case VIR_ERR_OPERATION_TIMEOUT:
	case VIR_ERR_RESOURCE_BUSY:
		return -EAGAIN;
	default:
		return -EPERM;
	}
}

static void *job_main(void *arg)
{
	struct libvirt_job *job = arg;
	virConnectPtr from = virConnectOpen(job->source_uri);
	virConnectPtr to = from ? virConnectOpen(job->destination_uri) : NULL;
	virDomainPtr dom = to ? virDomainLookupByUUIDString(from, job->uuid) : NULL;
	virDomainPtr arrived = dom ? migrate(job, dom, to) : NULL;

	if (arrived)
		job->done(job->opaque, 0, "");
	else
		job->done(job->opaque, failure(), virGetLastErrorMessage());
	if (arrived)
		virDomainFree(arrived);
	if (dom)
		virDomainFree(dom);
	if (to)
		virConnectClose(to);
	if (from)
		virConnectClose(from);
	return NULL;
}

static void free_job(struct libvirt_job *job)
{
	free(job->stream_uri);
	free(job->uuid);
	free(job->destination_xml);
	free(job->persistent_xml);
	free(job);
}

static void set_uri(char uri[LIBVIRT_URI_SIZE], const char *socket, bool session)
{
	struct libvirt_address address = {.session = session};

	snprintf(address.socket, sizeof(address.socket), "%s", socket);
	libvirt_address_uri(&address, uri);
}

static bool copy_strings(struct libvirt_job *job, const struct libvirt_job_options *o)
{
	set_uri(job->source_uri, o->source_socket, o->session);
	set_uri(job->destination_uri, o->destination_socket, o->session);
	job->uuid = strdup(o->uuid);
	job->destination_xml = strdup(o->destination_xml);
	if (o->persistent_xml)
		job->persistent_xml = strdup(o->persistent_xml);
	return asprintf(&job->stream_uri, "unix://%s", o->stream_path) >= 0 && job->uuid &&
	       job->destination_xml && (job->persistent_xml || !o->persistent_xml);
}

int libvirt_job_start(const struct libvirt_job_options *options, struct libvirt_job **out,
		      struct errtext *err)
{
	struct libvirt_job *job = calloc(1, sizeof(*job));

	if (!job)
		return errtext_set(err, -ENOMEM, "out of memory");
	job->done = options->done;
	job->opaque = options->opaque;
	if (!copy_strings(job, options) || pthread_create(&job->thread, NULL, job_main, job)) {
		free_job(job);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	*out = job;
	return 0;
}

void libvirt_job_join(struct libvirt_job *job)
{
	if (!job)
		return;
	pthread_join(job->thread, NULL);
	free_job(job);
}
