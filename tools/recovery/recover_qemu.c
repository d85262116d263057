// SPDX-License-Identifier: Apache-2.0
// After a crash in post-copy, on the source: a guest whose memory is in QEMU here alone.
//
// dray had kept libvirt's Confirm back, so QEMU still stands here, paused. The guard stands in for
// libvirt's client (stand_in.h), so that libvirt's job stays on the guest and nobody resumes it.
//
// Where nobody does, because libvirt's daemon was started anew, or the guard was killed as well,
// libvirt would let anybody resume it. Then QEMU is stopped as a process: its memory can be read
// all the same, and nobody's `cont` reaches it. Not before libvirt has seen its client go: it then
// asks QEMU to take back what was set for the migration, and its daemon would answer nobody until
// that is done (seen with 9.0).
//
// In the end QEMU is killed as it stands, so that no `cont` that waits in its monitor ever reaches
// it, and only then is libvirt asked to forget the guest. libvirt is asked nothing about it
// meanwhile: it may wait for QEMU's answer.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include "cleanup.h"
#include "ownership.h"
#include "recover_private.h"
#include "stand_in.h"

#define POLL_US 20000
#define END_US 10000000

bool recover_qemu_has_ram(const struct record *r)
{
	for (unsigned int i = 0; i < r->ram.count; i++)
		if (r->ram.blocks[i].private_to)
			return true;
	return false;
}

static pid_t qemu_of(const struct record *r)
{
	pid_t qemu = 0;

	for (unsigned int i = 0; i < r->ram.count; i++)
		qemu = r->ram.blocks[i].private_to ? r->ram.blocks[i].private_to : qemu;
	return qemu;
}

bool recover_qemu_has_ended(const struct recover_options *options, const struct record *r)
{
	_cleanup_close_ int pidfd = -1;

	return options->world->hold_qemu(&r->ram, &pidfd, NULL) == -ESRCH;
}

static void send(const struct recover_options *options, const struct record *r, int signal)
{
	_cleanup_close_ int pidfd = -1;

	if (options->world->hold_qemu(&r->ram, &pidfd, NULL) == 0)
		options->world->signal_process(pidfd, signal, NULL);
}

void recover_qemu_freeze(const struct recover_options *options, const struct record *r)
{
	send(options, r, SIGSTOP);
}

void recover_qemu_thaw(const struct recover_options *options, const struct record *r)
{
	stand_in_leave(options->stand_in);
	send(options, r, SIGCONT);
}

void recover_qemu_end(const struct recover_options *options, const struct record *r)
{
	uint64_t end = options->world->now_us() + END_US;
	_cleanup_close_ int pidfd = -1;

	if (options->world->hold_qemu(&r->ram, &pidfd, NULL) < 0)
		return;
	options->world->signal_process(pidfd, SIGKILL, NULL);
	while (!options->world->process_has_ended(pidfd) && options->world->now_us() < end)
		options->world->pause(POLL_US);
	stand_in_leave(options->stand_in);
}

int recover_qemu_retire(const struct recover_options *options, const struct record *r,
			struct errtext *told)
{
	struct domain_info info;
	struct host *host = NULL;
	int ret = recover_reach_host(options, r, &host, told);

	if (ret < 0 && record_is_gone(r)) {
		*told = (struct errtext){0};
		return 0;
	}
	if (ret == 0)
		ret = ownership_wait_job(host, r->uuid, options->wait_ms, &info, told);
	if (ret == 0)
		ret = ownership_retire(host, r->uuid, r->persistent, told);
	host_close(host);
	return ret;
}

int recover_qemu_explain(const struct record *r, int why, struct errtext *told)
{
	const struct errtext first = *told;

	*told = (struct errtext){0};
	return errtext_set(told, why,
			   "%.700s. (Its QEMU here, process %d, is stopped, so that nobody lets it "
			   "run by mistake: `kill -CONT %d` before it is resumed)",
			   first.text, qemu_of(r), qemu_of(r));
}
