// SPDX-License-Identifier: Apache-2.0
// A thread's user at the file system: needs root, which the tests are.
#include "fs_user.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

TestSuite(fs_user, .timeout = 30);

struct fixture {
	char dir[32], secret[64], link[64];
};

/* A directory of nobody's, with a link to a file that is root's alone. */
static void begin(struct fixture *f)
{
	int fd;

	cr_assert_eq(getuid(), 0);
	cr_assert_eq(setgroups(0, NULL), 0);
	snprintf(f->dir, sizeof(f->dir), "/tmp/dray-fsuser-XXXXXX");
	cr_assert(mkdtemp(f->dir));
	snprintf(f->secret, sizeof(f->secret), "%s.secret", f->dir);
	snprintf(f->link, sizeof(f->link), "%s/link", f->dir);
	fd = open(f->secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(symlink(f->secret, f->link), 0);
	cr_assert_eq(chown(f->dir, NOBODY, -1), 0);
}

static void end(struct fixture *f)
{
	unlink(f->link);
	unlink(f->secret);
	rmdir(f->dir);
}

Test(fs_user, a_link_leads_root_nowhere_that_its_maker_cannot_go)
{
	struct fixture f;

	begin(&f);
	{
		_cleanup_fs_user_ uid_t before = fs_user_become_owner(f.link);

		cr_assert_eq(chmod(f.link, 0600), -1);
		cr_assert_eq(errno, EPERM);
		cr_assert_eq(open(f.link, O_WRONLY | O_CLOEXEC), -1);
		cr_assert_eq(errno, EACCES);
	}
	cr_assert_eq(chmod(f.link, 0600), 0, "it is root again");
	cr_assert_eq(chmod(f.secret, 0640), 0);
	{
		_cleanup_fs_user_ uid_t before = fs_user_become_owner(f.link);

		cr_assert_eq(open(f.link, O_RDONLY | O_CLOEXEC), -1, "not by root's group");
	}
	end(&f);
}

Test(fs_user, what_is_made_is_the_users)
{
	struct fixture f;
	struct stat st;
	int fd;

	begin(&f);
	unlink(f.link);
	{
		_cleanup_fs_user_ uid_t before = fs_user_become(NOBODY);

		fd = open(f.link, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	}
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_uid, NOBODY);
	close(fd);
	end(&f);
}

Test(fs_user, a_directory_that_is_not_there_changes_nothing)
{
	_cleanup_fs_user_ uid_t before = fs_user_become_owner("/nowhere/at/all");
	_cleanup_fs_user_ uid_t same = fs_user_become((uid_t)-1);

	cr_assert_eq(before, 0);
	cr_assert_eq(same, 0);
}
