# How the demo shows things: sourced by run.

bold= dim= plain=
if [ -t 1 ]; then
	bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
seen=0

# note TEXT: a remark
note() {
	[ -n "${QUIET:-}" ] || printf '%s\n' "$*" | fold -s -w 100
}

# title TEXT: a new scene
title() {
	[ -n "${QUIET:-}" ] || printf '\n%s── %s%s\n' "$bold" "$*" "$plain"
}

# quiet_sql: runs a script, says nothing
quiet_sql() {
	private_user "$BIN/psql" -h "$PRIVATE" -U postgres -d trade -X -q -v ON_ERROR_STOP=1 \
		-o /dev/null -f - || exit 1
}

# sql: shows a script of statements and what each answers
sql() {
	local text
	text=$(cat)
	if [ -z "${QUIET:-}" ]; then
		printf '\n%s\n' "$text" | sed "s/^\(..*\)/${dim}  \1${plain}/"
	fi
	private_user "$BIN/psql" -h "$PRIVATE" -U postgres -d trade -X -q -v ON_ERROR_STOP=1 \
		-P null=∅ -P linestyle=unicode -P footer=off -P pager=off <<<"$text" >"$PRIVATE/home/out" 2>&1 || {
		cat "$PRIVATE/home/out"
		exit 1
	}
	[ -n "${QUIET:-}" ] || sed 's/^\(..*\)/  \1/' "$PRIVATE/home/out"
}

# delivered: waits until all that is committed has been answered for
delivered() {
	[ "$(private_user "$BIN/psql" -h "$PRIVATE" -U postgres -d trade -X -A -t -q \
		-c "SELECT concord.wait_for_delivery(timeout => '30s')")" = t ] || {
		echo "the deliveries did not end in time" >&2
		exit 1
	}
}

# requests: what the ERP was asked since the last time
requests() {
	local lines
	lines=$(curl -s "$ERP/_control/log?from=$seen")
	seen=$((seen + $(printf '%s' "$lines" | grep -c .)))
	[ -n "${QUIET:-}" ] || {
		printf '\n  %sThe ERP got:%s\n' "$bold" "$plain"
		printf '%s\n' "$lines" | jq -r '"    \(.method) \(.path)" +
			(if .body == "" then "" else "\n        \(.body)" end) + "\n        → \(.status)"'
	}
}

# holds SET: what the ERP keeps now, as it came (jq would shorten 2.50 to 2.5)
holds() {
	[ -n "${QUIET:-}" ] || {
		printf '\n  %sThe ERP now holds in %s:%s\n' "$bold" "$1" "$plain"
		curl -s "$ERP/_control/data" |
			awk -v set="\"/odata/v4/sales/$1\":{" '/^"\// {inside = index($0, set) == 1; next} inside' |
			sed 's/^"[^{]*:{/    {/; s/}[},]*$/}/' | sort
	}
}

# skip_requests: what was asked until now is not shown
skip_requests() {
	seen=$(curl -s "$ERP/_control/log" | grep -c .)
}

# fault JSON: scripts the ERP to misbehave
fault() {
	curl -s -f -o /dev/null -X POST -d "$1" "$ERP/_control/rules" || exit 1
}

faults_end() {
	curl -s -f -o /dev/null -X DELETE "$ERP/_control/rules" || exit 1
}
