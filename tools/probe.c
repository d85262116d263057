// SPDX-License-Identifier: Apache-2.0
// dray probe: what this kernel, QEMU and libvirt offer.
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include "added_monitor.h"
#include "cleanup.h"
#include "commands.h"
#include "domain_arguments.h"
#include "guest_dir.h"
#include "kernel_abi.h"
#include "launcher_arguments.h"
#include "libvirt_host.h"
#include "socket.h"
#include "tls_credentials.h"
#include "tls_rate.h"
#include "tracker.h"
#include "uffd_device.h"
#include "uring_stream.h"
#include "wire.h"

/* libvirt's profile of its QEMUs, what its administrator has added, and where our packages put the
 * rule: newer profiles read the whole directory, Debian 12's by a line in what was added. */
#define APPARMOR_PROFILE "/etc/apparmor.d/abstractions/libvirt-qemu"
#define APPARMOR_LOCAL "/etc/apparmor.d/local/abstractions/libvirt-qemu"
#define APPARMOR_DIRECTORY "libvirt-qemu.d"
#define APPARMOR_PACKAGED "/etc/apparmor.d/abstractions/" APPARMOR_DIRECTORY "/dray"

static uint64_t userfaultfd_features(void)
{
	_cleanup_close_ int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API};

	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 ? api.features : 0;
}

static void add_flag(json_object *o, const char *key, bool yes)
{
	json_object_object_add(o, key, json_object_new_boolean(yes));
}

static void add_version(json_object *o, const char *key, unsigned long v)
{
	char text[40];

	snprintf(text, sizeof(text), "%lu.%lu.%lu", v / 1000000, v / 1000 % 1000, v % 1000);
	json_object_object_add(o, key, json_object_new_string(text));
}

static void probe_kernel(json_object *o)
{
	const uint64_t track = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			       UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	uint64_t f = userfaultfd_features();
	enum kernel_faults faults = kernel_faults_probe();
	bool scans = tracker_supported(NULL) == 0, sends = uring_stream_supported(NULL) == 0;
	struct utsname u;

	uname(&u);
	json_object_object_add(o, "kernel", json_object_new_string(u.release));
	add_flag(o, "pagemap_scan", scans);
	add_flag(o, "io_uring", sends);
	add_flag(o, "userfaultfd_wp_async", f & UFFD_FEATURE_WP_ASYNC);
	add_flag(o, "userfaultfd_wp_unpopulated", f & UFFD_FEATURE_WP_UNPOPULATED);
	add_flag(o, "userfaultfd_wp_hugetlbfs_shmem", f & UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	add_flag(o, "userfaultfd_missing_shmem", f & UFFD_FEATURE_MISSING_SHMEM);
	add_flag(o, "userfaultfd_missing_hugetlbfs", f & UFFD_FEATURE_MISSING_HUGETLBFS);
	json_object_object_add(o, "userfaultfd_kernel_faults",
			       json_object_new_string(kernel_faults_name(faults)));
	/* Which part of a migration all that lets dray play. */
	add_flag(o, "role_source", sends && scans && (f & track) == track);
	add_flag(o, "role_destination", sends);
	add_flag(o, "role_destination_post_copy",
		 sends && f & UFFD_FEATURE_MISSING_SHMEM && faults != KERNEL_FAULTS_NO);
}

/* A line that says text, and is no comment; an older include begins like one. */
static bool file_says(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		const char *begin = line + strspn(line, " \t");

		if ((*begin != '#' || strncmp(begin, "#include", 8) == 0) && strstr(begin, text))
			return true;
	}
	return false;
}

/* Does it let QEMU make what dray asks it for? Whoever has given leave has named our directory. */
static bool apparmor_lets(void)
{
	return file_says(APPARMOR_LOCAL, GUEST_DIR_ROOT) ||
	       (file_says(APPARMOR_PACKAGED, GUEST_DIR_ROOT) &&
		(file_says(APPARMOR_PROFILE, APPARMOR_DIRECTORY) ||
		 file_says(APPARMOR_LOCAL, APPARMOR_DIRECTORY)));
}

static void probe_confinement(json_object *o, struct host *host)
{
	char name[HOST_CONFINEMENT_SIZE];

	if (host_confinement(host, name, NULL) < 0)
		return;
	json_object_object_add(o, "qemu_confined_by", json_object_new_string(name));
	if (strcmp(name, "apparmor") == 0)
		add_flag(o, "apparmor_rule", apparmor_lets());
}

/* What is different with a launcher's. */
static void probe_daemon(json_object *o, struct host *host, const char *socket)
{
	char sockets[HOST_SOCKETS_SIZE];
	uid_t uid;
	gid_t gid;

	json_object_object_add(o, "libvirt_socket", json_object_new_string(socket));
	if (host_qemu_sockets(host, sockets, NULL) < 0 ||
	    host_qemu_owner(host, &uid, &gid, NULL) < 0)
		return;
	json_object_object_add(o, "libvirt_daemon",
			       json_object_new_string(sockets[0] ? "session" : "system"));
	json_object_object_add(o, "qemu_user", json_object_new_int64(uid));
}

/* Does its QEMU take a monitor while a guest runs? Not what another than root's daemon names, nor a
 * container's, is started as root. */
static void probe_monitor(json_object *o, struct host *host)
{
	char sockets[HOST_SOCKETS_SIZE], path[HOST_EMULATOR_SIZE];
	bool possible;

	if (host_qemu_sockets(host, sockets, NULL) == 0 && !sockets[0] &&
	    host_emulator(host, path, NULL) == 0 &&
	    added_monitor_ask_program(path, &possible, NULL) == 0)
		add_flag(o, "qemu_adds_monitor", possible);
}

/* Files that others would refuse are told here as migrate and receive would. */
static void probe_tls(json_object *o)
{
	char subject[256], date[32];
	struct tls_credentials *c = NULL;
	struct errtext err = {0};
	int64_t until;
	struct tm tm;
	int ret = tls_credentials_new(TLS_CREDENTIALS_DIR, &c, &err);

	if (ret == 0)
		ret = tls_credentials_describe(c, subject, sizeof(subject), &until, &err);
	add_flag(o, "tls", ret == 0);
	if (ret == 0) {
		json_object_object_add(o, "tls_subject", json_object_new_string(subject));
		strftime(date, sizeof(date), "%FT%TZ", gmtime_r(&(time_t){until}, &tm));
		json_object_object_add(o, "tls_until", json_object_new_string(date));
	} else {
		json_object_object_add(o, "tls_missing", json_object_new_string(err.text));
	}
	tls_credentials_destroy(c);
}

/* Beside each other: which one is faster is the CPU's affair. */
static void probe_ciphers(json_object *o)
{
	json_object_object_add(o, "tls_cipher",
			       json_object_new_string(tls_rate_prefers_chacha()
							      ? "TLS_CHACHA20_POLY1305_SHA256"
							      : "TLS_AES_128_GCM_SHA256"));
	json_object_object_add(o, "tls_aes_128_gcm_mb_s", json_object_new_int64(tls_rate(false)));
	json_object_object_add(o, "tls_chacha20_poly1305_mb_s",
			       json_object_new_int64(tls_rate(true)));
}

/* Nothing uses it in this version. An unconnected socket is refused otherwise where there is one.
 */
static bool has_kernel_tls(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 &&
	       (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0 || errno != ENOENT);
}

static void probe_libvirt(json_object *o, pid_t launcher, const char *socket_path)
{
	struct errtext err = {0};
	struct host *host = NULL;
	unsigned long libvirt, qemu;
	char socket[108], room[LIBVIRT_SOCKET_SIZE];

	if (launcher)
		json_object_object_add(o, "launcher", json_object_new_int(launcher));
	if (launcher_arguments_enter(launcher, &socket_path, room, &err) == 0 &&
	    host_socket_path(socket_path, socket, &err) == 0 && host_library_init(&err) == 0 &&
	    host_open(socket, &host, &err) == 0 &&
	    host_versions(host, &libvirt, &qemu, &err) == 0) {
		add_version(o, "libvirt", libvirt);
		add_version(o, "qemu", qemu);
		probe_daemon(o, host, socket);
		if (!launcher)
			probe_monitor(o, host);
		probe_confinement(o, host);
	} else {
		json_object_object_add(o, "libvirt", NULL);
		json_object_object_add(o, "libvirt_error", json_object_new_string(err.text));
	}
	host_close(host);
}

static void print_text(json_object *o)
{
	json_object_object_foreach(o, key, value)
	{
		const char *text = value ? json_object_get_string(value) : "not known";

		if (json_object_is_type(value, json_type_boolean))
			text = json_object_get_boolean(value) ? "yes" : "no";
		printf("%-30s %s\n", key, text);
	}
}

int command_probe(int argc, char **argv)
{
	static const struct domain_command command = {
		.name = "dray probe",
		.usage = "",
		.help = "Tell what this kernel, QEMU and libvirt offer to dray.",
		.least = 0,
		.most = 0,
		.options = DOMAIN_JSON | DOMAIN_LIBVIRT_SOCKET | DOMAIN_LAUNCHER};
	struct domain_arguments a;
	json_object *o = json_object_new_object();

	domain_arguments_parse(&command, argc, argv, &a);
	json_object_object_add(o, "dray", json_object_new_string(DRAY_VERSION));
	json_object_object_add(o, "protocol", json_object_new_int(WIRE_VERSION_MAX));
	probe_kernel(o);
	add_flag(o, "kernel_tls", has_kernel_tls());
	probe_tls(o);
	probe_ciphers(o);
	probe_libvirt(o, a.launcher, a.libvirt_socket);
	if (a.json)
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	else
		print_text(o);
	json_object_put(o);
	return 0;
}
