// SPDX-License-Identifier: Apache-2.0
// A host that is a real libvirt daemon: connection, domains and their states, QEMU's events.
#include "libvirt_host.h"

#include <errno.h>
#include <json-c/json.h>
#include <libvirt/libvirt.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>
#include "cleanup.h"
#include "clock.h"
#include "event_flood.h"
#include "libvirt_address.h"
#include "process_thread.h"

/* A daemon that hangs must not hold a guest's lock for ever. */
#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 6

struct watch;

struct libvirt_host {
	struct host host;
	virConnectPtr conn;
	struct libvirt_address at;
	struct watch *watch;		 /* NULL: not watching */
	int event_ids[QEMU_EVENT_WORDS]; /* -1: not registered */
};

struct watch {
	qemu_event_fn *fn;
	void *opaque;
	pthread_mutex_t lock;
	/* under lock */
	bool stopped;
	struct event_flood flood;
	atomic_uint refs;
};

static struct libvirt_host *of(struct host *host)
{
	return (struct libvirt_host *)host;
}

static void ignore_error(void *opaque, virErrorPtr error)
{
	(void)opaque;
	(void)error;
}

static void tick(int timer, void *opaque)
{
	(void)timer;
	(void)opaque;
}

static void *event_main(void *arg)
{
	(void)arg;
	for (;;)
		virEventRunDefaultImpl();
	return NULL;
}

/* What the library logs by itself ("Guest web probably left in 'paused' state") is no word to our
 * user, who is told what came of it: it goes to the system's log, unless somebody has asked for it
 * otherwise. */
static void keep_log_off_stderr(void)
{
	if (!getenv("LIBVIRT_DEBUG") && !getenv("LIBVIRT_LOG_OUTPUTS"))
		setenv("LIBVIRT_LOG_OUTPUTS", "3:syslog:dray", 0);
}

int host_library_init(struct errtext *err)
{
	pthread_t thread;

	keep_log_off_stderr();
	/* libvirt's library writes to a daemon that has hung up as to any file, and leaves the
	 * signal to its user. */
	signal(SIGPIPE, SIG_IGN);
	virSetErrorFunc(NULL, ignore_error);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return errtext_set(err, -EIO, "libvirt does not start: %s",
				   virGetLastErrorMessage());
	/* With no timer and no connection the loop would sleep for good. */
	virEventAddTimeout(1000, tick, NULL, NULL);
	if (pthread_create(&thread, NULL, event_main, NULL))
		return errtext_set(err, -EAGAIN, "cannot start a thread");
	pthread_detach(thread);
	return 0;
}

int host_socket_path(const char *path, char out[108], struct errtext *err)
{
	if (path && strlen(path) >= 108)
		return errtext_set(err, -ENAMETOOLONG, "%s: too long for a UNIX socket", path);
	if (path) {
		strcpy(out, path);
		return 0;
	}
	for (size_t i = 0; libvirt_address_candidate(i, NULL, out); i++)
		if (access(out, F_OK) == 0)
			return 0;
	return errtext_set(err, -ENOENT,
			   "no libvirt socket (/run/libvirt/libvirt-sock or virtqemud-sock): start "
			   "libvirtd or virtqemud, or name its socket with --libvirt-socket");
}

static int failed(struct errtext *err, const char *what)
{
	virErrorPtr e = virGetLastError();
	int code = e && e->code == VIR_ERR_NO_DOMAIN ? -ENOENT : -EIO;

	return errtext_set(err, code, "%s: %s", what, virGetLastErrorMessage());
}

/* ---- facts ---- */

static char *capability_text(struct libvirt_host *h, const char *xpath, struct errtext *err)
{
	_cleanup_free_ char *xml = virConnectGetCapabilities(h->conn);
	xmlDocPtr doc =
		xml ? xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET) : NULL;
	xmlXPathContextPtr context = doc ? xmlXPathNewContext(doc) : NULL;
	xmlXPathObjectPtr found =
		context ? xmlXPathEvalExpression((const xmlChar *)xpath, context) : NULL;
	xmlChar *text = found ? xmlXPathCastToString(found) : NULL;
	char *copy = text ? strdup((char *)text) : NULL;

	if (!xml)
		failed(err, "libvirt's capabilities");
	xmlFree(text);
	xmlXPathFreeObject(found);
	xmlXPathFreeContext(context);
	xmlFreeDoc(doc);
	return copy;
}

static int libvirt_uuid(struct host *host, uint8_t uuid[16], struct errtext *err)
{
	struct libvirt_host *h = of(host);
	_cleanup_free_ char *text = NULL;

	if (h->at.session && libvirt_address_identity(h->at.socket, uuid) == 0)
		return 0;
	text = capability_text(h, "string(/capabilities/host/uuid)", err);
	if (!text || uuid_parse(text, uuid) < 0)
		return errtext_set(err, -EIO, "libvirt does not tell this host's UUID");
	return 0;
}

static int libvirt_qemu_owner(struct host *host, uid_t *uid, gid_t *gid, struct errtext *err)
{
	struct libvirt_host *h = of(host);
	_cleanup_free_ char *text = NULL;
	int u = (int)h->at.uid, g = (int)h->at.gid;

	if (!h->at.session)
		text = capability_text(
			h,
			"string(/capabilities/host/secmodel[model='dac']/baselabel[@type='kvm' or "
			"@type='qemu'][1])",
			err);
	if (!h->at.session && !text)
		return errtext_set(err, -EIO, "libvirt does not tell QEMU's user");
	if (text && *text && sscanf(text, "+%d:+%d", &u, &g) != 2)
		return errtext_set(err, -EIO, "libvirt names QEMU's user as '%s'", text);
	*uid = u;
	*gid = g;
	return 0;
}

/* The daemon's own directory: made by it, for as long as it is there. */
static int libvirt_qemu_sockets(struct host *host, char directory[HOST_SOCKETS_SIZE],
				struct errtext *err)
{
	const struct libvirt_host *h = of(host);
	int ret = 0;

	directory[0] = 0;
	if (h->at.session)
		ret = libvirt_address_directory(h->at.socket, directory, HOST_SOCKETS_SIZE);
	return ret < 0 ? errtext_set(err, ret, "%s: too long for sockets beside it", h->at.socket)
		       : 0;
}

static int libvirt_versions(struct host *host, unsigned long *libvirt, unsigned long *qemu,
			    struct errtext *err)
{
	struct libvirt_host *h = of(host);

	if (virConnectGetLibVersion(h->conn, libvirt) < 0 ||
	    virConnectGetVersion(h->conn, qemu) < 0)
		return failed(err, "libvirt's version");
	return 0;
}

static int libvirt_confinement(struct host *host, char name[HOST_CONFINEMENT_SIZE],
			       struct errtext *err)
{
	_cleanup_free_ char *model = capability_text(
		of(host),
		"string(/capabilities/host/secmodel[model='apparmor' or model='selinux']/model)",
		err);

	if (!model)
		return errtext_set(err, -EIO, "libvirt does not tell what confines its QEMUs");
	snprintf(name, HOST_CONFINEMENT_SIZE, "%s", *model ? model : "none");
	return 0;
}

static int libvirt_emulator(struct host *host, char path[HOST_EMULATOR_SIZE], struct errtext *err)
{
	_cleanup_free_ char *text = capability_text(
		of(host),
		"string(/capabilities/guest[os_type='hvm']/arch[@name='x86_64']/emulator)", err);

	if (!text || text[0] != '/' || strlen(text) >= HOST_EMULATOR_SIZE)
		return errtext_set(err, -ENOENT, "libvirt names no QEMU for x86-64 guests");
	strcpy(path, text);
	return 0;
}

/* ---- domains ---- */

static void domain_free(virDomainPtr *dom)
{
	if (*dom)
		virDomainFree(*dom);
}

static virDomainPtr domain(struct libvirt_host *h, const char *uuid, struct errtext *err)
{
	virDomainPtr dom = virDomainLookupByUUIDString(h->conn, uuid);

	if (!dom)
		failed(err, uuid);
	return dom;
}

static enum domain_state classify(int state, int reason)
{
	switch (state) {
	case VIR_DOMAIN_SHUTOFF:
	case VIR_DOMAIN_CRASHED:
		return DOMAIN_SHUT_OFF;
	case VIR_DOMAIN_PAUSED:
		break;
	default:
		return DOMAIN_RUNNING;
	}
	switch (reason) {
	case VIR_DOMAIN_PAUSED_MIGRATION:
	case 14: /* VIR_DOMAIN_PAUSED_API_ERROR of newer libvirt: it could not resume it afterwards
		  */
		return DOMAIN_PAUSED_MIGRATION;
	case VIR_DOMAIN_PAUSED_STARTING_UP:
		return DOMAIN_INCOMING;
	case VIR_DOMAIN_PAUSED_POSTCOPY:
	case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
		return DOMAIN_PAUSED_POSTCOPY;
	default:
		return DOMAIN_PAUSED_USER;
	}
}

static int fill_info(virDomainPtr dom, struct domain_info *info, struct errtext *err)
{
	virDomainJobInfo job;
	int state, reason;

	snprintf(info->name, sizeof(info->name), "%s", virDomainGetName(dom));
	if (virDomainGetUUIDString(dom, info->uuid) < 0 ||
	    virDomainGetUUID(dom, info->uuid_bytes) < 0 ||
	    virDomainGetState(dom, &state, &reason, 0) < 0)
		return failed(err, info->name);
	info->state = classify(state, reason);
	info->persistent = virDomainIsPersistent(dom) == 1;
	info->job = virDomainGetJobInfo(dom, &job) == 0 && job.type != VIR_DOMAIN_JOB_NONE &&
		    job.type != VIR_DOMAIN_JOB_COMPLETED && job.type != VIR_DOMAIN_JOB_FAILED &&
		    job.type != VIR_DOMAIN_JOB_CANCELLED;
	return 0;
}

/* The number that libvirt gives to a domain that runs. */
static virDomainPtr find_by_id(struct libvirt_host *h, const char *text)
{
	char *end;
	unsigned long id;

	errno = 0;
	id = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || id > INT_MAX)
		return NULL;
	return virDomainLookupByID(h->conn, (int)id);
}

static int libvirt_find(struct host *host, const char *name_or_uuid, struct domain_info *info,
			struct errtext *err)
{
	struct libvirt_host *h = of(host);

	uint8_t uuid[16];
	int autostart = 0;
	_cleanup_(domain_free) virDomainPtr dom = virDomainLookupByName(h->conn, name_or_uuid);

	if (!dom && uuid_parse(name_or_uuid, uuid) == 0)
		dom = virDomainLookupByUUID(h->conn, uuid);
	if (!dom)
		dom = find_by_id(h, name_or_uuid);
	if (!dom && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		return errtext_set(err, -ENOENT,
				   "domain %s: libvirt on this host knows no such domain; `virsh "
				   "list --all` shows those it does",
				   name_or_uuid);
	if (!dom)
		return failed(err, name_or_uuid);
	info->autostart = virDomainGetAutostart(dom, &autostart) == 0 && autostart;
	return fill_info(dom, info, err);
}

static int libvirt_state(struct host *host, const char *uuid, struct domain_info *info,
			 struct errtext *err)
{
	struct libvirt_host *h = of(host);
	_cleanup_(domain_free) virDomainPtr dom = virDomainLookupByUUIDString(h->conn, uuid);

	*info = (struct domain_info){.state = DOMAIN_ABSENT};
	if (!dom && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		return 0;
	if (!dom)
		return failed(err, uuid);
	return fill_info(dom, info, err);
}

static int libvirt_domain_xml(struct host *host, const char *uuid, bool persistent, char **xml,
			      struct errtext *err)
{
	struct libvirt_host *h = of(host);
	_cleanup_(domain_free) virDomainPtr dom = domain(h, uuid, err);

	if (!dom)
		return -ENOENT;
	*xml = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE |
						(persistent ? VIR_DOMAIN_XML_INACTIVE : 0));
	return *xml ? 0 : failed(err, "domain XML");
}

/* ---- monitor passthrough ---- */

/* fd: what goes along with the command, or -1. */
static int libvirt_monitor_with(struct host *host, const char *uuid, const char *command, int fd,
				json_object **out, struct errtext *err)
{
	_cleanup_(domain_free) virDomainPtr dom = domain(of(host), uuid, err);
	_cleanup_free_ char *answer = NULL;
	json_object *reply, *value;
	int ret;

	if (!dom)
		return -ENOENT;
	if (fd < 0)
		ret = virDomainQemuMonitorCommand(dom, command, &answer, 0);
	else
		ret = virDomainQemuMonitorCommandWithFiles(dom, command, 1, &fd, NULL, NULL,
							   &answer, 0);
	if (ret < 0)
		return failed(err, "QEMU's monitor, through libvirt");
	reply = json_tokener_parse(answer);
	if (!reply || !json_object_object_get_ex(reply, "return", &value)) {
		json_object_put(reply);
		return errtext_set(err, -EREMOTEIO, "QEMU's monitor refuses %s: %s", command,
				   answer);
	}
	if (out)
		*out = json_object_get(value);
	json_object_put(reply);
	return 0;
}

static int libvirt_monitor(struct host *host, const char *uuid, const char *command,
			   json_object **ret, struct errtext *err)
{
	return libvirt_monitor_with(host, uuid, command, -1, ret, err);
}

/* QEMU's numbers are those of its PID namespace, which is the daemon's. Another process than the
 * guest's QEMU must never be taken for it, so its command line has the last word. */
static int qemu_of_thread(struct libvirt_host *h, const char *uuid, pid_t tid, pid_t *pid,
			  struct errtext *err)
{
	struct errtext why = {0};
	struct libvirt_address now = {0};
	int ret = libvirt_address_look(h->at.socket, &now, err);

	if (ret < 0)
		return ret;
	ret = now.pid ? process_thread_find(now.pid, tid, pid, &why)
		      : errtext_set(&why, -ESRCH,
				    "libvirt's daemon is in a PID namespace that cannot be seen "
				    "from here");
	if (ret == 0 && !process_thread_is_qemu(*pid, uuid))
		ret = errtext_set(&why, -ESRCH, "process %d is not its QEMU", *pid);
	return ret < 0 ? errtext_set(err, ret,
				     "domain %s: cannot find its QEMU process: %s. dray must run "
				     "in QEMU's PID namespace, or in one around it",
				     uuid, why.text)
		       : 0;
}

static int libvirt_qemu_pid(struct host *host, const char *uuid, pid_t *pid, struct errtext *err)
{
	json_object *cpus = NULL, *cpu, *tid = NULL;
	int ret = libvirt_monitor(host, uuid, "{\"execute\":\"query-cpus-fast\"}", &cpus, err);

	if (ret < 0)
		return ret;
	cpu = json_object_array_get_idx(cpus, 0);
	if (cpu)
		json_object_object_get_ex(cpu, "thread-id", &tid);
	ret = tid ? qemu_of_thread(of(host), uuid, json_object_get_int(tid), pid, err)
		  : errtext_set(err, -ESRCH, "domain %s: its QEMU tells of no vCPU", uuid);
	json_object_put(cpus);
	return ret;
}

static int libvirt_set_ignore_shared(struct host *host, const char *uuid, bool on,
				     struct errtext *err)
{
	char command[160];

	snprintf(command, sizeof(command),
		 "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
		 "[{\"capability\":\"x-ignore-shared\",\"state\":%s}]}}",
		 on ? "true" : "false");
	return libvirt_monitor(host, uuid, command, NULL, err);
}

/* *state: what it is set to; NULL: this QEMU does not know it. Borrowed from *list, which is the
 * caller's to json_object_put. */
static int find_capability(struct host *host, const char *uuid, const char *capability,
			   json_object **list, json_object **state, struct errtext *err)
{
	int ret = libvirt_monitor(host, uuid, "{\"execute\":\"query-migrate-capabilities\"}", list,
				  err);

	*state = NULL;
	for (size_t i = 0; ret == 0 && i < json_object_array_length(*list); i++) {
		json_object *item = json_object_array_get_idx(*list, i), *name, *value;

		if (json_object_object_get_ex(item, "capability", &name) &&
		    json_object_object_get_ex(item, "state", &value) &&
		    strcmp(json_object_get_string(name), capability) == 0)
			*state = value;
	}
	return ret;
}

static int libvirt_get_ignore_shared(struct host *host, const char *uuid, bool *on,
				     struct errtext *err)
{
	json_object *list = NULL, *state;
	int ret = find_capability(host, uuid, "x-ignore-shared", &list, &state, err);

	*on = state && json_object_get_boolean(state);
	json_object_put(list);
	return ret;
}

static int libvirt_knows_capability(struct host *host, const char *uuid, const char *capability,
				    bool *known, struct errtext *err)
{
	json_object *list = NULL, *state;
	int ret = find_capability(host, uuid, capability, &list, &state, err);

	*known = state;
	json_object_put(list);
	return ret;
}

static int count_snapshots(struct libvirt_host *h, const char *uuid, unsigned int *count,
			   struct errtext *err)
{
	_cleanup_(domain_free) virDomainPtr dom = domain(h, uuid, err);
	int n = dom ? virDomainSnapshotNum(dom, 0) : -1;

	if (n < 0)
		return failed(err, "the domain's snapshots");
	*count = (unsigned int)n;
	return 0;
}

/* A QEMU without that property describes its stream. */
static bool is_endless(struct host *host, const char *uuid)
{
	json_object *on = NULL;
	bool endless =
		libvirt_monitor(host, uuid,
				"{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine\","
				"\"property\":\"suppress-vmdesc\"}}",
				&on, NULL) == 0 &&
		json_object_get_boolean(on);

	json_object_put(on);
	return endless;
}

static int libvirt_blockers(struct host *host, const char *uuid, struct domain_blockers *blockers,
			    struct errtext *err)
{
	json_object *answer = NULL, *reasons = NULL;
	int ret = count_snapshots(of(host), uuid, &blockers->snapshots, err);

	blockers->count = 0;
	if (ret == 0)
		ret = libvirt_monitor(host, uuid, "{\"execute\":\"query-migrate\"}", &answer, err);
	if (ret == 0)
		json_object_object_get_ex(answer, "blocked-reasons", &reasons);
	blockers->endless = ret == 0 && is_endless(host, uuid);
	for (size_t i = 0; reasons && i < json_object_array_length(reasons) &&
			   blockers->count < DOMAIN_BLOCKERS_MAX;
	     i++)
		snprintf(blockers->reasons[blockers->count++], sizeof(blockers->reasons[0]), "%s",
			 json_object_get_string(json_object_array_get_idx(reasons, i)));
	json_object_put(answer);
	return ret;
}

/* ---- actions ---- */

static int act(struct libvirt_host *h, const char *uuid, const char *what, int (*fn)(virDomainPtr),
	       struct errtext *err)
{
	_cleanup_(domain_free) virDomainPtr dom = domain(h, uuid, err);

	if (!dom)
		return -ENOENT;
	return fn(dom) < 0 ? failed(err, what) : 0;
}

static int libvirt_resume(struct host *host, const char *uuid, struct errtext *err)
{
	struct libvirt_host *h = of(host);

	return act(h, uuid, "resume the domain", virDomainResume, err);
}

static int libvirt_suspend(struct host *host, const char *uuid, struct errtext *err)
{
	struct libvirt_host *h = of(host);

	return act(h, uuid, "pause the domain", virDomainSuspend, err);
}

static bool is_failure(const char *status)
{
	return strcmp(status, "cancelled") == 0 || strcmp(status, "failed") == 0;
}

/* QEMU's own migration: it lets the guest run then. Cancelled while its stream breaks, it says that
 * it has failed. */
static bool has_failed(struct host *host, const char *uuid)
{
	json_object *answer = NULL, *status;
	bool over = libvirt_monitor(host, uuid, "{\"execute\":\"query-migrate\"}", &answer, NULL) ==
			    0 &&
		    json_object_object_get_ex(answer, "status", &status) &&
		    is_failure(json_object_get_string(status));

	json_object_put(answer);
	return over;
}

static int libvirt_unstick_job(struct host *host, const char *uuid, bool *suspended,
			       struct errtext *err)
{
	struct libvirt_host *h = of(host);
	struct domain_info info;
	int ret = libvirt_state(host, uuid, &info, err);

	*suspended = false;
	if (ret < 0 || !info.job || !has_failed(host, uuid))
		return ret;
	if (info.state == DOMAIN_PAUSED_MIGRATION)
		return libvirt_monitor(host, uuid, "{\"execute\":\"cont\"}", NULL, err);
	if (info.state != DOMAIN_RUNNING)
		return 0;
	ret = act(h, uuid, "suspend the domain", virDomainSuspend, err);
	*suspended = ret == 0;
	return ret;
}

static int libvirt_destroy(struct host *host, const char *uuid, struct errtext *err)
{
	struct libvirt_host *h = of(host);
	struct errtext local = {0};
	int ret = act(h, uuid, "end the domain", virDomainDestroy, &local);
	struct domain_info info;

	if (ret < 0 && libvirt_state(host, uuid, &info, NULL) == 0 &&
	    (info.state == DOMAIN_ABSENT || info.state == DOMAIN_SHUT_OFF))
		return 0;
	return ret < 0 ? errtext_set(err, ret, "%s", local.text) : 0;
}

static int undefine_domain(virDomainPtr dom)
{
	return virDomainUndefineFlags(dom, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
						   VIR_DOMAIN_UNDEFINE_KEEP_TPM);
}

static int libvirt_undefine(struct host *host, const char *uuid, struct errtext *err)
{
	struct libvirt_host *h = of(host);

	return act(h, uuid, "undefine the domain", undefine_domain, err);
}

static int autostart_domain(virDomainPtr dom)
{
	return virDomainSetAutostart(dom, 1);
}

static int libvirt_set_autostart(struct host *host, const char *uuid, struct errtext *err)
{
	return act(of(host), uuid, "set the domain to autostart", autostart_domain, err);
}

struct abort_request {
	char socket[108], uuid[37];
};

static void *abort_main(void *arg)
{
	_cleanup_free_ struct abort_request *request = arg;
	struct host *h = NULL;

	if (host_open(request->socket, &h, NULL) == 0)
		act(of(h), request->uuid, "abort the migration job", virDomainAbortJob, NULL);
	host_close(h);
	return NULL;
}

static int libvirt_get_max_downtime(struct host *host, const char *uuid, unsigned int *ms,
				    struct errtext *err)
{
	_cleanup_(domain_free) virDomainPtr dom = domain(of(host), uuid, err);
	unsigned long long now;

	if (!dom)
		return -ENOENT;
	if (virDomainMigrateGetMaxDowntime(dom, &now, 0) < 0)
		return failed(err, "migration downtime");
	*ms = (unsigned int)now;
	return 0;
}

static int libvirt_set_max_downtime(struct host *host, const char *uuid, unsigned int ms,
				    struct errtext *err)
{
	_cleanup_(domain_free) virDomainPtr dom = domain(of(host), uuid, err);

	if (!dom)
		return -ENOENT;
	return virDomainMigrateSetMaxDowntime(dom, ms, 0) < 0 ? failed(err, "migration downtime")
							      : 0;
}

static void libvirt_abort_job(struct host *host, const char *uuid)
{
	struct abort_request *request = calloc(1, sizeof(*request));
	pthread_t thread;

	if (!request)
		return;
	snprintf(request->socket, sizeof(request->socket), "%s", of(host)->at.socket);
	snprintf(request->uuid, sizeof(request->uuid), "%s", uuid);
	if (pthread_create(&thread, NULL, abort_main, request) == 0)
		pthread_detach(thread);
	else
		free(request);
}

/* ---- events ---- */

static void watch_unref(void *opaque)
{
	struct watch *w = opaque;

	if (atomic_fetch_sub(&w->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void on_event(virConnectPtr conn, virDomainPtr dom, const char *event, long long seconds,
		     unsigned int micros, const char *details, void *opaque)
{
	struct watch *w = opaque;
	uint64_t time_us = (uint64_t)seconds * 1000000 + micros;
	json_object *data = details ? json_tokener_parse(details) : NULL, *status = NULL;
	enum qemu_event known;

	(void)conn;
	(void)dom;
	if (data)
		json_object_object_get_ex(data, "status", &status);
	known = qemu_event_of(event, status ? json_object_get_string(status) : NULL);
	pthread_mutex_lock(&w->lock);
	if (!w->stopped && event_flood_note(&w->flood, time_us)) {
		w->stopped = true;
		w->fn(w->opaque, QEMU_EVENT_FLOOD, time_us);
	}
	if (!w->stopped && known != QEMU_EVENT_OTHER)
		w->fn(w->opaque, known, time_us);
	pthread_mutex_unlock(&w->lock);
	json_object_put(data);
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
	struct watch *w = opaque;

	(void)conn;
	(void)reason;
	pthread_mutex_lock(&w->lock);
	if (!w->stopped)
		w->fn(w->opaque, QEMU_EVENT_UNSEEN, clock_realtime_us());
	pthread_mutex_unlock(&w->lock);
}

/* Each registration holds a reference to the watch. */
static int register_close(struct libvirt_host *h)
{
	atomic_fetch_add(&h->watch->refs, 1);
	if (virConnectRegisterCloseCallback(h->conn, on_close, h->watch, watch_unref) == 0)
		return 0;
	atomic_fetch_sub(&h->watch->refs, 1);
	return -EIO;
}

static int register_events(struct libvirt_host *h, virDomainPtr dom)
{
	for (unsigned int i = 0; i < QEMU_EVENT_WORDS; i++) {
		atomic_fetch_add(&h->watch->refs, 1);
		h->event_ids[i] = virConnectDomainQemuMonitorEventRegister(
			h->conn, dom, qemu_event_word(i), on_event, h->watch, watch_unref, 0);
		if (h->event_ids[i] < 0) {
			atomic_fetch_sub(&h->watch->refs, 1);
			return -EIO;
		}
	}
	return 0;
}

static int libvirt_watch(struct host *host, const char *uuid, qemu_event_fn *fn, void *opaque,
			 struct errtext *err)
{
	struct libvirt_host *h = of(host);
	_cleanup_(domain_free) virDomainPtr dom = domain(h, uuid, err);
	struct watch *w = dom ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return errtext_set(err, -ENOMEM, "out of memory");
	w->fn = fn;
	w->opaque = opaque;
	atomic_init(&w->refs, 1);
	pthread_mutex_init(&w->lock, NULL);
	h->watch = w;
	if (register_close(h) < 0 || register_events(h, dom) < 0)
		return failed(err, "QEMU's events, through libvirt");
	return 0;
}

static void libvirt_unwatch(struct host *host)
{
	struct libvirt_host *h = of(host);

	if (!h->watch)
		return;
	pthread_mutex_lock(&h->watch->lock);
	h->watch->stopped = true;
	pthread_mutex_unlock(&h->watch->lock);
	virConnectUnregisterCloseCallback(h->conn, on_close);
	for (unsigned int i = 0; i < QEMU_EVENT_WORDS; i++) {
		if (h->event_ids[i] >= 0)
			virConnectDomainQemuMonitorEventDeregister(h->conn, h->event_ids[i]);
		h->event_ids[i] = -1;
	}
	watch_unref(h->watch);
	h->watch = NULL;
}

/* ---- connection ---- */

static void libvirt_close(struct host *host)
{
	struct libvirt_host *h = of(host);

	libvirt_unwatch(host);
	virConnectClose(h->conn);
	free(h);
}

static int libvirt_reopen(struct host *host, struct errtext *err)
{
	struct libvirt_host *h = of(host);
	char uri[LIBVIRT_URI_SIZE];
	virConnectPtr fresh;

	libvirt_address_uri(&h->at, uri);
	fresh = virConnectOpen(uri);
	if (!fresh)
		return errtext_set(err, -EIO, "libvirt does not answer: %s",
				   virGetLastErrorMessage());
	libvirt_unwatch(host);
	virConnectClose(h->conn);
	h->conn = fresh;
	return 0;
}

static const struct host_ops libvirt_ops = {
	.close = libvirt_close,
	.reopen = libvirt_reopen,
	.uuid = libvirt_uuid,
	.qemu_owner = libvirt_qemu_owner,
	.qemu_sockets = libvirt_qemu_sockets,
	.versions = libvirt_versions,
	.confinement = libvirt_confinement,
	.emulator = libvirt_emulator,
	.find = libvirt_find,
	.state = libvirt_state,
	.domain_xml = libvirt_domain_xml,
	.qemu_pid = libvirt_qemu_pid,
	.monitor = libvirt_monitor_with,
	.set_ignore_shared = libvirt_set_ignore_shared,
	.get_ignore_shared = libvirt_get_ignore_shared,
	.knows_capability = libvirt_knows_capability,
	.blockers = libvirt_blockers,
	.unstick_job = libvirt_unstick_job,
	.resume = libvirt_resume,
	.suspend = libvirt_suspend,
	.destroy = libvirt_destroy,
	.undefine = libvirt_undefine,
	.set_autostart = libvirt_set_autostart,
	.get_max_downtime = libvirt_get_max_downtime,
	.set_max_downtime = libvirt_set_max_downtime,
	.abort_job = libvirt_abort_job,
	.watch = libvirt_watch,
	.unwatch = libvirt_unwatch,
};

static virConnectPtr connect_to(const struct libvirt_address *at)
{
	char uri[LIBVIRT_URI_SIZE];

	libvirt_address_uri(at, uri);
	return virConnectOpen(uri);
}

/* What it is was guessed: it refuses the other one's name. */
static virConnectPtr connect_as_either(struct libvirt_address *at)
{
	virConnectPtr conn = connect_to(at);
	struct libvirt_address other = *at;

	if (conn || virGetLastErrorCode() != VIR_ERR_INTERNAL_ERROR)
		return conn;
	other.session = !at->session;
	conn = connect_to(&other);
	if (conn)
		*at = other;
	return conn;
}

int host_open(const char *socket_path, struct host **out, struct errtext *err)
{
	struct libvirt_host *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return errtext_set(err, -ENOMEM, "out of memory");
	h->host.ops = &libvirt_ops;
	memset(h->event_ids, -1, sizeof(h->event_ids));
	ret = libvirt_address_look(socket_path, &h->at, err) < 0 ? -EIO : 0;
	if (ret == 0)
		h->conn = connect_as_either(&h->at);
	if (ret == 0 && !h->conn)
		ret = errtext_set(err, -EIO, "libvirt at %s does not answer: %s", socket_path,
				  virGetLastErrorMessage());
	if (ret < 0) {
		free(h);
		return ret;
	}
	virConnectSetKeepAlive(h->conn, KEEPALIVE_S, KEEPALIVE_COUNT);
	*out = &h->host;
	return 0;
}
