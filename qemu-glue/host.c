// SPDX-License-Identifier: Apache-2.0
// One host's libvirt, by whoever implements it.
#include "host.h"

#include <stddef.h>

void host_close(struct host *h)
{
	if (h)
		h->ops->close(h);
}

int host_reopen(struct host *h, struct errtext *err)
{
	return h->ops->reopen(h, err);
}

int host_uuid(struct host *h, uint8_t uuid[16], struct errtext *err)
{
	return h->ops->uuid(h, uuid, err);
}

int host_qemu_owner(struct host *h, uid_t *uid, gid_t *gid, struct errtext *err)
{
	return h->ops->qemu_owner(h, uid, gid, err);
}

int host_qemu_sockets(struct host *h, char directory[HOST_SOCKETS_SIZE], struct errtext *err)
{
	return h->ops->qemu_sockets(h, directory, err);
}

int host_versions(struct host *h, unsigned long *libvirt, unsigned long *qemu, struct errtext *err)
{
	return h->ops->versions(h, libvirt, qemu, err);
}

int host_confinement(struct host *h, char name[HOST_CONFINEMENT_SIZE], struct errtext *err)
{
	return h->ops->confinement(h, name, err);
}

int host_emulator(struct host *h, char path[HOST_EMULATOR_SIZE], struct errtext *err)
{
	return h->ops->emulator(h, path, err);
}

int host_find(struct host *h, const char *name_or_uuid, struct domain_info *info,
	      struct errtext *err)
{
	return h->ops->find(h, name_or_uuid, info, err);
}

int host_state(struct host *h, const char *uuid, struct domain_info *info, struct errtext *err)
{
	return h->ops->state(h, uuid, info, err);
}

int host_domain_xml(struct host *h, const char *uuid, bool persistent, char **xml,
		    struct errtext *err)
{
	return h->ops->domain_xml(h, uuid, persistent, xml, err);
}

int host_qemu_pid(struct host *h, const char *uuid, pid_t *pid, struct errtext *err)
{
	return h->ops->qemu_pid(h, uuid, pid, err);
}

int host_monitor(struct host *h, const char *uuid, const char *command, struct json_object **ret,
		 struct errtext *err)
{
	return h->ops->monitor(h, uuid, command, -1, ret, err);
}

int host_monitor_with_fd(struct host *h, const char *uuid, const char *command, int fd,
			 struct errtext *err)
{
	return h->ops->monitor(h, uuid, command, fd, NULL, err);
}

int host_set_ignore_shared(struct host *h, const char *uuid, bool on, struct errtext *err)
{
	return h->ops->set_ignore_shared(h, uuid, on, err);
}

int host_get_ignore_shared(struct host *h, const char *uuid, bool *on, struct errtext *err)
{
	return h->ops->get_ignore_shared(h, uuid, on, err);
}

int host_knows_capability(struct host *h, const char *uuid, const char *capability, bool *known,
			  struct errtext *err)
{
	return h->ops->knows_capability(h, uuid, capability, known, err);
}

int host_blockers(struct host *h, const char *uuid, struct domain_blockers *blockers,
		  struct errtext *err)
{
	return h->ops->blockers(h, uuid, blockers, err);
}

int host_unstick_job(struct host *h, const char *uuid, bool *suspended, struct errtext *err)
{
	return h->ops->unstick_job(h, uuid, suspended, err);
}

int host_resume(struct host *h, const char *uuid, struct errtext *err)
{
	return h->ops->resume(h, uuid, err);
}

int host_suspend(struct host *h, const char *uuid, struct errtext *err)
{
	return h->ops->suspend(h, uuid, err);
}

int host_destroy(struct host *h, const char *uuid, struct errtext *err)
{
	return h->ops->destroy(h, uuid, err);
}

int host_undefine(struct host *h, const char *uuid, struct errtext *err)
{
	return h->ops->undefine(h, uuid, err);
}

int host_set_autostart(struct host *h, const char *uuid, struct errtext *err)
{
	return h->ops->set_autostart(h, uuid, err);
}

int host_get_max_downtime(struct host *h, const char *uuid, unsigned int *ms, struct errtext *err)
{
	return h->ops->get_max_downtime(h, uuid, ms, err);
}

int host_set_max_downtime(struct host *h, const char *uuid, unsigned int ms, struct errtext *err)
{
	return h->ops->set_max_downtime(h, uuid, ms, err);
}

void host_abort_job(struct host *h, const char *uuid)
{
	h->ops->abort_job(h, uuid);
}

int host_watch(struct host *h, const char *uuid, qemu_event_fn *fn, void *opaque,
	       struct errtext *err)
{
	return h->ops->watch(h, uuid, fn, opaque, err);
}

void host_unwatch(struct host *h)
{
	h->ops->unwatch(h);
}
