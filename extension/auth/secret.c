/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  Where secrets come from: an option's text, or a file.
 *
 * A file is looked at (stat) at most once a second and read again when its
 * time or size changed; one that cannot be read any more keeps its last
 * value, because a rotation may replace it at this moment.  The text of a
 * file is taken without the line end at its end.  Secrets live in a context of
 * their own and are wiped before they are replaced.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "catalog/server_options.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* A secret is no book. */
#define SECRET_MAX_SIZE		(64 * 1024)

/* sec_read reads a file into buf; returns the length or -1 with errno set. */
static int
sec_read(const char *path, char *buf, int size, struct stat *st)
{
	/* opening a pipe would wait for a writer */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK);
	int			len = 0;
	int			failed = 0;
	ssize_t		n = 1;

	if (fd < 0)
		return -1;
	if (fstat(fd, st) != 0)
		failed = errno;
	else if (!S_ISREG(st->st_mode))
		failed = EINVAL;
	while (failed == 0 && n > 0)
	{
		n = read(fd, buf + len, size - len);
		if (n < 0)
			failed = errno;
		else
			len += n;
		if (len == size)
			failed = EFBIG;
	}
	CloseTransientFile(fd);
	if (failed != 0)
	{
		explicit_bzero(buf, len);
		errno = failed;
		return -1;
	}
	while (len > 0 && (buf[len - 1] == '\n' || buf[len - 1] == '\r'))
		len--;
	buf[len] = '\0';
	return len;
}

/* sec_store replaces the value of a secret by a new one. */
static void
sec_store(ConcordAuth *auth, ConcordSecret *secret, const char *value, int len)
{
	if (secret->value != NULL)
	{
		explicit_bzero(secret->value, secret->len);
		pfree(secret->value);
	}
	secret->value = MemoryContextAlloc(auth->context, len + 1);
	memcpy(secret->value, value, len);
	secret->value[len] = '\0';
	secret->len = len;
	auth->key_ready = false;
}

/* sec_note_file remembers what a file was like when it was read. */
static void
sec_note_file(ConcordSecret *secret, const struct stat *st)
{
	secret->mtime_ns = (int64) st->st_mtim.tv_sec * 1000000000 +
		st->st_mtim.tv_nsec;
	secret->size = st->st_size;
}

/*
 * concord_secret_load adds the secret of an option to auth, from the option
 * itself or from the file that option_file names; nothing where neither is
 * given.
 */
void
concord_secret_load(ConcordAuth *auth, List *options, const char *option)
{
	ConcordSecret *secret = &auth->secrets[auth->nsecrets];
	char	   *file_option = psprintf("%s_file", option);
	const char *path = concord_option_get(options, file_option);
	const char *value = concord_option_get(options, option);
	char	   *buf;
	struct stat st;
	int			len;

	Assert(auth->nsecrets < CONCORD_AUTH_SECRETS);
	if (path == NULL && value == NULL)
		return;

	memset(secret, 0, sizeof(ConcordSecret));
	secret->option = option;
	auth->nsecrets++;
	if (path == NULL)
	{
		sec_store(auth, secret, value, strlen(value));
		return;
	}

	secret->path = MemoryContextStrdup(auth->context, path);
	buf = palloc(SECRET_MAX_SIZE + 1);
	len = sec_read(path, buf, SECRET_MAX_SIZE, &st);
	if (len < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the file of option \"%s\": %m",
						file_option)));
	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the file of option \"%s\" is empty", file_option)));
	sec_store(auth, secret, buf, len);
	sec_note_file(secret, &st);
	explicit_bzero(buf, len);
	pfree(buf);
}

/* concord_secret_refresh reads files that changed since they were read. */
void
concord_secret_refresh(ConcordAuth *auth)
{
	int64		now = time(NULL);

	if (now == auth->checked_at)
		return;
	auth->checked_at = now;

	for (int i = 0; i < auth->nsecrets; i++)
	{
		ConcordSecret *secret = &auth->secrets[i];
		ConcordSecret seen;
		struct stat st;
		char	   *buf;
		int			len;

		if (secret->path == NULL || stat(secret->path, &st) != 0)
			continue;
		sec_note_file(&seen, &st);
		if (seen.mtime_ns == secret->mtime_ns && seen.size == secret->size)
			continue;

		buf = palloc(SECRET_MAX_SIZE + 1);
		len = sec_read(secret->path, buf, SECRET_MAX_SIZE, &st);
		if (len > 0)
		{
			sec_store(auth, secret, buf, len);
			sec_note_file(secret, &st);
			explicit_bzero(buf, len);
		}
		pfree(buf);
	}
}

/*
 * concord_secret_write replaces the content of a secret's file, durably and at
 * once; false with errno set where it cannot.
 */
bool
concord_secret_write(const char *path, const char *value)
{
	char	   *temporary = psprintf("%s.new", path);
	struct stat st;
	mode_t		mode = S_IRUSR | S_IWUSR;
	Size		len = strlen(value);
	int			fd;
	int			failed = 0;

	if (stat(path, &st) == 0)
		mode = st.st_mode & 0777;
	if (unlink(temporary) != 0 && errno != ENOENT)
		return false;
	fd = OpenTransientFilePerm(temporary, O_CREAT | O_EXCL | O_WRONLY, mode);
	if (fd < 0)
		return false;
	errno = ENOSPC;
	if (write(fd, value, len) != (ssize_t) len || pg_fsync(fd) != 0)
		failed = errno;
	if (CloseTransientFile(fd) != 0 && failed == 0)
		failed = errno;
	if (failed != 0)
	{
		(void) unlink(temporary);
		errno = failed;
		return false;
	}
	return durable_rename(temporary, path, LOG) == 0;
}

/* concord_secret_get finds the secret of an option, NULL where not given. */
const ConcordSecret *
concord_secret_get(const ConcordAuth *auth, const char *option)
{
	for (int i = 0; i < auth->nsecrets; i++)
	{
		if (strcmp(auth->secrets[i].option, option) == 0)
			return &auth->secrets[i];
	}
	return NULL;
}

/* concord_secret_text returns a secret's text, "" where it is not given. */
char *
concord_secret_text(const ConcordAuth *auth, const char *option)
{
	const ConcordSecret *secret = concord_secret_get(auth, option);

	return secret != NULL ? secret->value : "";
}
