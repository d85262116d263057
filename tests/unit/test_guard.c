// SPDX-License-Identifier: Apache-2.0
// Starting the guard process. It is our own program, called as a guard: what it finds, it tells.
#include "guard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UUID "6e8a4a3c-3f6a-4f52-9a35-0a8f6b4f6a10"
#define SESSION "00112233445566778899aabbccddeeff"

TestSuite(guard, .timeout = 20);

/* ---- the guard's side ---- */

/* Where it tells, for its outputs lead nowhere; and which descriptor is to be held. */
#define TELL "GUARD_TEST_TELL"
#define HELD "GUARD_TEST_HELD"

static void tell(int argc, char **argv)
{
	const char *held = getenv(HELD);
	sigset_t blocked;
	char said[8] = {0}, out[64] = {0};
	FILE *f = fopen(getenv(TELL), "w");
	ssize_t n = read(STDIN_FILENO, said, sizeof(said) - 1);
	ssize_t length = readlink("/proc/self/fd/1", out, sizeof(out) - 1);

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	if (!f || length < 0)
		_exit(1);
	for (int i = 0; i < argc; i++)
		fprintf(f, "%s|", argv[i]);
	fprintf(f, " read %zd '%s', session %d, SIGTERM %d, out %s, held %d", n, n > 0 ? said : "",
		getsid(0) == getpid(), sigismember(&blocked, SIGTERM), out,
		held && fcntl(atoi(held), F_GETFD) >= 0);
	fclose(f);
	_exit(0);
}

/* Before Criterion's main. */
__attribute__((constructor)) static void be_guard(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "guard") == 0)
		tell(argc, argv);
}

/* ---- ours ---- */

struct started {
	char path[64];
	int fd;
	pid_t pid;
};

static struct started start(const char *libvirt_socket, const struct ram_keep *ram)
{
	struct started s = {.fd = -1};
	struct errtext err = {0};
	int fd;

	strcpy(s.path, "/tmp/dray-guard-XXXXXX");
	fd = mkstemp(s.path);
	cr_assert_geq(fd, 0);
	close(fd);
	setenv(TELL, s.path, 1);
	cr_assert_eq(guard_start(UUID, SESSION, libvirt_socket, ram, &s.fd, &s.pid, &err), 0, "%s",
		     err.text);
	cr_assert(fcntl(s.fd, F_GETFD) & FD_CLOEXEC, "no other child keeps the guard waiting");
	return s;
}

static const char *told(struct started *s)
{
	static char text[1024];
	int status;
	FILE *f;

	cr_assert_eq(waitpid(s->pid, &status, 0), s->pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	f = fopen(s->path, "r");
	cr_assert_not_null(f);
	cr_assert_not_null(fgets(text, sizeof(text), f));
	fclose(f);
	unlink(s->path);
	return text;
}

Test(guard, is_told_when_all_is_tidy)
{
	struct started s = start("/run/libvirt/sock", NULL);

	guard_done(s.fd);
	cr_assert_str_eq(told(&s),
			 "dray|guard|" UUID "|" SESSION "|/run/libvirt/sock| read 4 'done', "
			 "session 1, SIGTERM 0, out /dev/null, held 0");
}

Test(guard, sees_that_dray_has_gone)
{
	struct started s = start(NULL, NULL);

	close(s.fd);
	cr_assert_str_eq(told(&s),
			 "dray|guard|" UUID "|" SESSION "|| read 0 '', session 1, SIGTERM 0, "
			 "out /dev/null, held 0");
}

/* dray takes SIGTERM by a descriptor, and so has it blocked. */
Test(guard, can_be_ended_by_signals)
{
	struct started s;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s = start(NULL, NULL);
	close(s.fd);
	cr_assert(strstr(told(&s), "SIGTERM 0"));
}

Test(guard, holds_guest_memory)
{
	struct ram_keep_block block = {.name = "pc.ram", .size = 4096, .page_size = 4096};
	const struct ram_keep keep = {.count = 1, .blocks = &block};
	struct started s;
	char number[16];

	block.fd = memfd_create("pc.ram", MFD_CLOEXEC);
	cr_assert_geq(block.fd, 0);
	snprintf(number, sizeof(number), "%d", block.fd);
	setenv(HELD, number, 1);
	s = start(NULL, &keep);
	close(s.fd);
	cr_assert(strstr(told(&s), "held 1"));
	s = start(NULL, NULL);
	close(s.fd);
	cr_assert(strstr(told(&s), "held 0"), "only what is handed over");
	close(block.fd);
}

/* Whoever was killed meanwhile, or was never started. */
Test(guard, is_lent_a_descriptor)
{
	int ends[2], ours[2], lent;
	char byte = 0;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	cr_assert_eq(pipe(ours), 0);
	cr_assert_eq(guard_lend(ends[1], ours[1]), 0);
	close(ours[1]);
	close(ends[1]);
	cr_assert(guard_await(ends[0], &lent), "dray has gone");
	cr_assert(fcntl(lent, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(write(lent, "x", 1), 1);
	cr_assert_eq(read(ours[0], &byte, 1), 1);
	cr_assert_eq(byte, 'x');
	close(lent);
	cr_assert_eq(read(ours[0], &byte, 1), 0, "nobody else has it");
	close(ends[0]);
	close(ours[0]);
}

/* dray has given all up, but is still there, and so is whoever in it uses what it lent. */
static void be_dray(int result)
{
	pid_t dray = getpid();
	int ends[2], lent;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		_exit(1);
	if (fork() == 0) {
		close(ends[1]);
		if (!guard_await(ends[0], &lent) || lent < 0)
			_exit(1);
		_exit(write(result, getppid() == dray ? "early" : "ended", 5) != 5);
	}
	close(ends[0]);
	if (guard_lend(ends[1], STDOUT_FILENO) < 0)
		_exit(1);
	close(ends[1]);
	usleep(300000);
	_exit(0);
}

Test(guard, awaits_the_end_of_a_dray_that_has_lent_it_something)
{
	char said[6] = "";
	int result[2];

	cr_assert_eq(pipe(result), 0);
	if (fork() == 0)
		be_dray(result[1]);
	close(result[1]);
	cr_assert_eq(read(result[0], said, 5), 5);
	cr_assert_str_eq(said, "ended");
	close(result[0]);
}

Test(guard, gives_back_what_it_was_lent)
{
	int ends[2], ours[2], lent;
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	cr_assert_eq(pipe(ours), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(guard_lend(ends[1], ours[1]), 0);
	close(ours[1]);
	guard_done(ends[1]);
	cr_assert_not(guard_await(ends[0], &lent));
	cr_assert_eq(lent, -1);
	cr_assert_eq(read(ours[0], &byte, 1), 0, "nobody has it");
	close(ends[0]);
	close(ours[0]);
}

/* As when it has no room for another. */
Test(guard, what_was_lent_does_not_arrive)
{
	int ends[2], lent;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	cr_assert_eq(send(ends[1], "", 1, 0), 1);
	close(ends[1]);
	cr_assert(guard_await(ends[0], &lent), "dray has gone");
	cr_assert_eq(lent, -1);
	close(ends[0]);
}

Test(guard, none_is_left_to_lend_to)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	close(ends[0]);
	cr_assert_eq(guard_lend(ends[1], ends[1]), -EPIPE);
	close(ends[1]);
}

Test(guard, done_without_one)
{
	int ends[2];

	guard_done(-1);
	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(pipe(ends), 0);
	close(ends[0]);
	guard_done(ends[1]);
	cr_assert_eq(fcntl(ends[1], F_GETFD), -1, "closed");
}

Test(guard, no_descriptors_are_left)
{
	struct errtext err = {0};
	int fd = -1;

	while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
		;
	cr_assert_eq(guard_start(UUID, SESSION, NULL, NULL, &fd, NULL, &err), -EMFILE);
	cr_assert(err.text[0]);
	cr_assert_eq(fd, -1);
}
