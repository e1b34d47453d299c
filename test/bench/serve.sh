# A private server and the sandbox for measurements: sourced by the runs.
#
# bench_start starts both (fsync on: durability is part of what is measured);
# bench_sql runs SQL; bench_stat NAME asks the sandbox; everything ends with
# the script. BENCH_KEEP=1 keeps the directory.

. test/private.sh

bench_end() {
	[ -z "${PRIVATE:-}" ] && return
	private_end
	[ -n "${BENCH_KEEP:-}" ] && echo "kept: $PRIVATE" || rm -rf "$PRIVATE"
}

# bench_start SANDBOX-OPTION...
bench_start() {
	trap bench_end EXIT
	trap 'exit 130' INT TERM
	private_make || exit 1
	make -s -C test/sandbox || exit 1
	cp test/sandbox/sandbox "$PRIVATE/sandbox"
	private_user "$BIN/initdb" -D "$PRIVATE/data" -A trust -U postgres --encoding=UTF8 \
		--locale=C.UTF-8 >/dev/null || exit 1
	private_conf "$PRIVATE/server.conf"
	{
		grep -v '^fsync' "$PRIVATE/server.conf"
		echo "max_wal_size = 8GB"
		echo "shared_buffers = 512MB"
	} | private_user tee -a "$PRIVATE/data/postgresql.conf" >/dev/null
	(cd "$PRIVATE" && private_user "$BIN/pg_ctl" -D "$PRIVATE/data" -l "$PRIVATE/server.log" -w start) \
		>/dev/null || exit 1
	private_user "$BIN/createdb" -h "$PRIVATE" -U postgres bench
	(cd "$PRIVATE" && private_user setsid -f "$PRIVATE/sandbox" --port-file "$PRIVATE/home/port" "$@") \
		</dev/null >"$PRIVATE/sandbox.log" 2>&1
	local i
	for ((i = 0; i < 100; i++)); do
		[ ! -s "$PRIVATE/home/port" ] || break
		sleep 0.1
	done
	ERP=http://127.0.0.1:$(cat "$PRIVATE/home/port")
	bench_sql -c "CREATE EXTENSION pg_concord" -c "SELECT concord.wait_for_capture('60s')" >/dev/null
}

bench_sql() {
	private_user "$BIN/psql" -h "$PRIVATE" -U postgres -d bench -X -q -A -t -v ON_ERROR_STOP=1 "$@" || exit 1
}

bench_control() {				# METHOD WHAT [BODY]
	curl -s -f -X "$1" "$ERP/_control/$2" ${3:+-d "$3"}
}

bench_stat() {
	bench_control GET stats | jq -r ".$1"
}

# bench_arrived N: until the sandbox has acted on N requests
bench_arrived() {
	local i
	for ((i = 0; i < 6000; i++)); do
		[ "$(bench_stat acted)" -lt "$1" ] || return 0
		sleep 0.1
	done
	echo "only $(bench_stat acted) of $1 arrived" >&2
	exit 1
}

# median: the line with the middle one of the numbers on standard input
median() {
	sort -n | awk '{v[NR] = $0} END {print v[int((NR + 1) / 2)]}'
}
