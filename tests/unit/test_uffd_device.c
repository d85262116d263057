// SPDX-License-Identifier: Apache-2.0
// /dev/userfaultfd: there, masked as in a container, and out of reach.
#include "uffd_device.h"

#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "attach.h"
#include "fault_service.h"

static bool sysctl_allows_everybody(void)
{
	FILE *f = fopen("/proc/sys/vm/unprivileged_userfaultfd", "r");
	int value = 0;

	if (f && fscanf(f, "%d", &value) != 1)
		value = 0;
	if (f)
		fclose(f);
	return value;
}

static void need_device(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	if (access(UFFD_DEVICE_PATH, F_OK) < 0)
		cr_skip_test("there is no " UFFD_DEVICE_PATH);
}

/* As container runtimes mask a path. In a mount namespace of this test's own. */
static void mask_device(void)
{
	cr_assert_eq(unshare(CLONE_NEWNS), 0, "%s", strerror(errno));
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("/dev/null", UFFD_DEVICE_PATH, NULL, MS_BIND, NULL), 0, "%s",
		     strerror(errno));
}

static void drop_capability(unsigned int cap)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	cr_assert_eq(syscall(SYS_capget, &header, data), 0);
	data[cap / 32].effective &= ~(1u << cap % 32);
	data[cap / 32].permitted &= ~(1u << cap % 32);
	cr_assert_eq(syscall(SYS_capset, &header, data), 0, "%s", strerror(errno));
}

/* What it makes has never been shaken hands with. */
static void check_works(int device)
{
	struct uffdio_api api = {.api = UFFD_API};
	int uffd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);

	cr_assert_geq(uffd, 0, "%s", strerror(errno));
	cr_assert_eq(ioctl(uffd, UFFDIO_API, &api), 0);
	cr_assert(fcntl(device, F_GETFD) & FD_CLOEXEC);
	close(uffd);
	close(device);
}

Test(uffd_device, opens)
{
	struct errtext err = {0};
	int fd = -1;

	need_device();
	cr_assert_eq(uffd_device_open(UFFD_DEVICE_PATH, &fd, &err), 0, "%s", err.text);
	check_works(fd);
	cr_assert_eq(kernel_faults_probe(), KERNEL_FAULTS_DEVICE);
}

Test(uffd_device, a_node_of_our_own_if_it_is_missing)
{
	struct errtext err = {0};
	int fd = -1;

	need_device();
	cr_assert_eq(uffd_device_open("/dev/no-such-userfaultfd", &fd, &err), 0, "%s", err.text);
	check_works(fd);
}

static void attach_unprivileged(int expected, struct errtext *err)
{
	struct victim v;
	int fd = -1;

	victim_start(&v, victim_obey_unprivileged);
	victim_wait_unprivileged(&v);
	cr_assert_eq(attach_userfaultfd(v.pid, UFFD_FEATURE_MISSING_SHMEM, false, &fd, NULL, err),
		     expected, "%s", err->text);
	cr_assert_eq(victim_userfaultfds(&v, NULL), 0);
	cr_assert_eq(victim_tracer(&v), 0);
	cr_assert(victim_end(&v), "%s", v.shared->what);
	if (fd >= 0)
		close(fd);
}

Test(uffd_device, a_masked_one_is_no_obstacle)
{
	struct errtext err = {0};

	need_device();
	mask_device();
	cr_assert_eq(kernel_faults_probe(), KERNEL_FAULTS_DEVICE);
	attach_unprivileged(0, &err);
}

Test(uffd_device, without_any_way_both_are_named)
{
	struct errtext err = {0};

	need_device();
	if (sysctl_allows_everybody())
		cr_skip_test("vm.unprivileged_userfaultfd is 1");
	mask_device();
	drop_capability(CAP_SYS_ADMIN);
	cr_assert_eq(kernel_faults_probe(), KERNEL_FAULTS_NO);
	attach_unprivileged(-ENOTSUP, &err);
	cr_assert_not_null(strstr(err.text, "sysctl vm.unprivileged_userfaultfd=1"), "%s",
			   err.text);
	cr_assert_not_null(strstr(err.text, UFFD_DEVICE_PATH), "%s", err.text);
}

Test(uffd_device, names)
{
	cr_assert_str_eq(kernel_faults_name(KERNEL_FAULTS_NO), "no");
	cr_assert_str_eq(kernel_faults_name(KERNEL_FAULTS_SYSCTL), "sysctl");
	cr_assert_str_eq(kernel_faults_name(KERNEL_FAULTS_DEVICE), "device");
	cr_assert_str_eq(kernel_faults_name(KERNEL_FAULTS_END_), "?");
}
