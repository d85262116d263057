// SPDX-License-Identifier: Apache-2.0
// Command lines of subcommands that take a domain: what is taken, and what ends the program.
#include "domain_arguments.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(domain_arguments, .timeout = 10);

#define ALL (DOMAIN_JSON | DOMAIN_LIBVIRT_SOCKET | DOMAIN_WAIT)

/* A line of words, by single spaces. */
static struct domain_arguments parse(const char *line, unsigned int least, unsigned int most,
				     unsigned int options)
{
	const struct domain_command command = {"dray test", "[DOMAIN]", "Help.\vExit status.",
					       least,	    most,	options};
	static char words[512];
	char *argv[DOMAIN_ARGUMENTS_MAX + 8] = {(char *)"test"};
	struct domain_arguments a;
	int argc = 1;

	snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	domain_arguments_parse(&command, argc, argv, &a);
	return a;
}

Test(domain_arguments, nothing_is_given)
{
	const struct domain_arguments a = parse("", 0, 1, ALL);

	cr_assert_null(a.domain);
	cr_assert_null(a.libvirt_socket);
	cr_assert_not(a.json);
	cr_assert_eq(a.wait_ms, 30000);
	cr_assert_eq(a.rest_count, 0);
}

Test(domain_arguments, all_is_given_in_any_order)
{
	const struct domain_arguments a =
		parse("web --wait 5 bandwidth=1Mi --json --libvirt-socket /s x=y", 2, 4, ALL);

	cr_assert_str_eq(a.domain, "web");
	cr_assert(a.json);
	cr_assert_eq(a.wait_ms, 5000);
	cr_assert_str_eq(a.libvirt_socket, "/s");
	cr_assert_eq(a.rest_count, 2);
	cr_assert_str_eq(a.rest[0], "bandwidth=1Mi");
	cr_assert_str_eq(a.rest[1], "x=y");
}

Test(domain_arguments, ends_of_the_range)
{
	cr_assert_eq(parse("--wait=0", 0, 1, ALL).wait_ms, 0);
	cr_assert_eq(parse("--wait=86400", 0, 1, ALL).wait_ms, 86400000);
}

struct wrong_row {
	char line[64];
	unsigned int least, most, options;
	char text[64]; /* part of what is told */
};

ParameterizedTestParameters(domain_arguments, wrong)
{
	static struct wrong_row rows[] = {
		{"", 1, 1, ALL, "a domain is needed"},
		{"web", 2, 3, ALL, "more arguments are needed"},
		{"web db", 1, 1, ALL, "db: too many arguments"},
		{"web", 0, 0, ALL, "web: too many arguments"},
		{"--wait -1 web", 1, 1, ALL,
		 "--wait -1: a number of seconds, 0 to 86400, is needed"},
		{"--wait 86401 web", 1, 1, ALL, "--wait 86401: a number"},
		{"--wait 1s web", 1, 1, ALL, "--wait 1s: a number"},
		{"--wait= web", 1, 1, ALL, "--wait : a number"},
		{"--wait 99999999999999999999 web", 1, 1, ALL, "a number"},
		{"--json web", 1, 1, DOMAIN_WAIT, "unrecognized option '--json'"},
		{"--wait 1 web", 1, 1, DOMAIN_JSON, "unrecognized option '--wait'"},
		{"--libvirt-socket /s", 0, 1, DOMAIN_JSON, "unrecognized option"},
		{"--nonsense", 0, 1, ALL, "unrecognized option '--nonsense'"},
	};

	return cr_make_param_array(struct wrong_row, rows, sizeof(rows) / sizeof(*rows));
}

/* In a child, as it ends its process: exit status, and what it said on both outputs. */
static int parse_in_child(const struct wrong_row *row, char said[4096])
{
	size_t used = 0;
	ssize_t n;
	int ends[2], status;
	pid_t pid;

	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		parse(row->line, row->least, row->most, row->options);
		_exit(99); /* it went on */
	}
	close(ends[1]);
	while ((n = read(ends[0], said + used, 4095 - used)) > 0)
		used += n;
	said[used] = 0;
	close(ends[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

ParameterizedTest(struct wrong_row *row, domain_arguments, wrong)
{
	char said[4096];

	cr_assert_eq(parse_in_child(row, said), 1, "%s", said);
	cr_assert(strstr(said, row->text), "%s", said);
	cr_assert(strstr(said, "dray test --help"), "%s", said);
}

Test(domain_arguments, help_names_the_options_that_there_are)
{
	static const struct wrong_row rows[] = {
		{"--help", 1, 1, DOMAIN_JSON | DOMAIN_WAIT, ""},
		{"-h", 1, 1, DOMAIN_JSON | DOMAIN_WAIT, ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char said[4096];

		cr_assert_eq(parse_in_child(&rows[i], said), 0, "%s", said);
		cr_assert(strstr(said, "--json") && strstr(said, "--wait=SECONDS"), "%s", said);
		cr_assert_not(strstr(said, "--libvirt-socket"), "%s", said);
		cr_assert(strstr(said, "Help.") && strstr(said, "Exit status."), "%s", said);
	}
}
