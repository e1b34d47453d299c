# A private PostgreSQL: sourced by test/check, by the demo and by benchmarks.
#
# PostgreSQL finds its files relative to its own binary, so a copy of the
# server's folders under a temporary directory is an installation of its own:
# pg_concord goes there with DESTDIR, no cluster or file of the machine is
# touched, and several runs do not meet.
#
#	private_make		copies the server and installs this tree into it
#	private_conf FILE	writes what a server with pg_concord needs
#	private_user CMD…	runs a command as an ordinary user
#	private_end			ends every process that runs from, or in, the directory
#
# Sets PRIVATE (the directory), BIN and PKGLIB. PG_CONFIG chooses the server.

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
[ -x "$PG_CONFIG" ] || PG_CONFIG=$(command -v pg_config || echo pg_config)

# private_user: PostgreSQL refuses to run as root.  PRIVATE_PRELOAD names
# libraries that its programs load first.
private_user() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid=postgres --regid=postgres --clear-groups \
			env HOME="$PRIVATE/home" USER=postgres LOGNAME=postgres \
			${PRIVATE_PRELOAD:+LD_PRELOAD="$PRIVATE_PRELOAD"} "$@"
	else
		env HOME="$PRIVATE/home" ${PRIVATE_PRELOAD:+LD_PRELOAD="$PRIVATE_PRELOAD"} "$@"
	fi
}

private_make() {
	PRIVATE=$(mktemp -d "${TMPDIR:-/tmp}/concord.XXXXXX")
	chmod 755 "$PRIVATE"
	local dir
	for dir in --bindir --pkglibdir --sharedir; do
		dir=$("$PG_CONFIG" $dir)
		mkdir -p "$PRIVATE$dir"
		tar -C "$dir" --exclude=./bitcode --exclude=./man -cf - . |
			tar -C "$PRIVATE$dir" -xf -
	done
	BIN=$PRIVATE$("$PG_CONFIG" --bindir)
	PKGLIB=$PRIVATE$("$PG_CONFIG" --pkglibdir)
	mkdir "$PRIVATE/home"
	make -s all PG_CONFIG="$PG_CONFIG" with_llvm=no || return 1
	make -s install PG_CONFIG="$PG_CONFIG" with_llvm=no DESTDIR="$PRIVATE" \
		>/dev/null || return 1
	[ "$(id -u)" -ne 0 ] || chown postgres:postgres "$PRIVATE" "$PRIVATE/home"
}

# private_conf: output_plugin_libraries exists in minors since August 2026 only,
# and a server that does not know it would not start with it.
private_conf() {
	cat >"$1" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$PRIVATE'
		shared_preload_libraries = 'pg_concord'
		wal_level = logical
		max_worker_processes = 24
		max_replication_slots = 20
		max_wal_senders = 20
		max_prepared_transactions = 10
		fsync = off
		log_line_prefix = '%m [%p] %b %q%a '
	CONF
	if private_user "$BIN/postgres" --describe-config 2>/dev/null |
		grep '^output_plugin_libraries' >/dev/null; then
		echo "output_plugin_libraries = 'pgoutput, test_decoding, concord_decoder'" >>"$1"
	fi
	chmod 644 "$1"
}

# private_end: only processes whose program, or working directory, is ours.
private_end() {
	local try pid found
	for try in TERM TERM KILL; do
		found=
		for pid in /proc/[0-9]*; do
			[ "${pid#/proc/}" != "$$" ] || continue
			case "$(readlink "$pid/exe" 2>/dev/null) $(readlink "$pid/cwd" 2>/dev/null)" in
			*"$PRIVATE"*)
				found=1
				kill -$try "${pid#/proc/}" 2>/dev/null || true
				;;
			esac
		done
		[ -n "$found" ] || return 0
		sleep 0.5
	done
}
