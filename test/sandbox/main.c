/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The command line of the sandbox, a scriptable fake ERP for tests.
 *
 * See README.md beside this file for what it serves and how it is scripted.
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "request.h"

Options		options = {
	.max_body = 64 * 1024 * 1024,
	.log = true,
	.log_limit = 200000,
};

static const char usage[] =
"usage: sandbox [options]\n"
"  --port N             port on 127.0.0.1; 0 (default) takes a free one\n"
"  --port-file FILE     write the port there (default: standard output)\n"
"  --tls CERT KEY       serve TLS; a second port, without TLS, comes second\n"
"  --log FILE           append every request to FILE as a JSON line\n"
"  --recover FILE       begin with what FILE says, and append to it as --log does\n"
"  --no-log             remember no requests (faster)\n"
"  --log-limit N        requests kept in memory (default 200000)\n"
"  --strict             unknown sets are 404 instead of made\n"
"  --die-with-parent    end when the process that started it ends\n";

static const char *recover_path;

static void
open_log(const char *path)
{
	options.log_file = fopen(path, "a");
	if (options.log_file == NULL)
	{
		perror(path);
		exit(1);
	}
	setvbuf(options.log_file, NULL, _IOLBF, 65536);
}

/* Reads the command line; ends the program on a wrong one. */
static void
read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'},
		{"tls", required_argument, NULL, 't'},
		{"log", required_argument, NULL, 'l'},
		{"recover", required_argument, NULL, 'r'},
		{"no-log", no_argument, NULL, 'n'},
		{"log-limit", required_argument, NULL, 'm'},
		{"strict", no_argument, NULL, 's'},
		{"die-with-parent", no_argument, NULL, 'd'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
	{
		if (c == 'p')
			options.port = atoi(optarg);
		else if (c == 'f')
			options.port_file = optarg;
		else if (c == 't' && optind < argc)
		{
			options.tls_cert = optarg;
			options.tls_key = argv[optind++];
		}
		else if (c == 'l')
			open_log(optarg);
		else if (c == 'r')
			recover_path = optarg;
		else if (c == 'n')
			options.log = false;
		else if (c == 'm' && atol(optarg) > 0)
			options.log_limit = strtoul(optarg, NULL, 10);
		else if (c == 's')
			options.strict = true;
		else if (c == 'd')
			prctl(PR_SET_PDEATHSIG, SIGTERM);
		else
		{
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc)
	{
		fputs(usage, stderr);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	read_options(argc, argv);
	srand48(1);
	if (recover_path != NULL)
	{
		recover_from(recover_path);
		open_log(recover_path);
		fputc('\n', options.log_file);	/* the last line may be torn */
	}
	if (!server_start())
		return 1;
	server_run();
	if (options.log_file != NULL)
		fclose(options.log_file);
	/* Suspended connections would make a tidy end fail; the kernel tidies. */
	_exit(0);
}
