#!/bin/sh
# The demo: memcached, unchanged, survives kill -9: three times killed under load, three times back.
# Run by `make demo`. Uses $BUILD (build), a free port of this machine, and cleans up after itself.
set -eu

keys=200000
cd "$(dirname "$0")/.."
build=$(cd "${BUILD:-build}" && pwd)
load=$build/tests/memcached_load
PATH=$build:$PATH:/usr/bin:/usr/sbin

[ -w /dev/shm ] && memory=/dev/shm || memory=${TMPDIR:-/tmp}
work=$(mktemp -d "$memory/respct-demo-XXXXXX")
store=$work/store
server=''

# While $server, our child, lives, the number in the pid file is that of memcached.
clean_up()
{
	trap '' INT TERM PIPE
	if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
		kill -9 "$(cat "$store/pid")" "$server" 2>/dev/null || true
	fi
	wait
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM PIPE

# What memcached and its restorer said, when something went wrong.
stop_with()
{
	echo "FAILED: $*" >&2
	cat "$work/output" "$work/restore-output" >&2 2>/dev/null || true
	exit 1
}

say()
{
	printf '%s  %s\n' "$(date +%H:%M:%S.%3N)" "$*"
}

now_ms()
{
	echo $(($(date +%s%N) / 1000000))
}

# Fields of `respct stat`.
stat_of()
{
	respct stat "$store" | sed -n "s/^$1: //p"
}

# As root, memcached wants to be told whom to become.
user=''
[ "$(id -u)" -ne 0 ] || user='-u nobody'
port=$($load port)

# shellcheck disable=SC2086 # none or two words
respct run --quiet --store "$store" -- memcached $user -l 127.0.0.1 -p "$port" -U 0 -m 1024 -M >"$work/output" 2>&1 &
server=$!
$load wait "$port" || stop_with "memcached does not answer"
say "started   $(memcached -V) as process $server, port $port, under respct run"
$load fill "$port" "$work" $keys >"$work/said"
say "loaded    $(cat "$work/said") over TCP"

for crash in 1 2 3; do
	echo
	$load update "$port" "$work" >"$work/said" &
	updates=$!
	sleep 2
	pid=$(cat "$store/pid")
	kill -9 "$pid"
	killed=$(now_ms)
	wait $updates
	wait $server 2>/dev/null || true
	server=''
	say "crash $crash   kill -9 $pid under load: $(cat "$work/said") in the last 2 s"
	committed=$(stat_of commit_time_ns)
	say "          $(stat_of checkpoints) checkpoints taken in this life, the last one" \
		"$((killed - committed / 1000000)) ms before the kill; it holds $(stat_of pages) pages"

	began=$(now_ms)
	respct-restore "$store" >>"$work/restore-output" 2>&1 &
	server=$!
	$load wait "$port" || stop_with "memcached does not answer after the restore"
	say "restored  process $(cat "$store/pid") answers again after $(($(now_ms) - began)) ms"
	$load check "$port" "$work" "$committed" >"$work/said" || stop_with "a key is not what it must be"
	say "checked   $(cat "$work/said"): all that was acknowledged before the checkpoint is there, byte for byte"
done

echo
kill -TERM "$(cat "$store/pid")"
wait $server || stop_with "memcached ended with status $?"
server=''
say "stopped   memcached ended by itself with status 0, as it does without respct"
