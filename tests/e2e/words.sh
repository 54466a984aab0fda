# What the shell tests share: a directory of the test's own, $work, in which it runs and whose store is $store;
# starting, killing, restoring a program there; ending the test. Sourced with `set -u` by a script that has
# `trap clean_up EXIT` and ends with "ok NAME", "FAILED why" (status 1) or "skipped: why" (77) as its last line.
# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are the sourcing script's

build=${RESPCT_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
respct=$build/respct
restore=$build/respct-restore
helpers=$build/tests/helpers
demo=$(cd "$(dirname "$0")/../../demo" && pwd)
bench=$(cd "$(dirname "$0")/../bench" && pwd)
[ -d /dev/shm ] && [ -w /dev/shm ] && place=/dev/shm || place=${TMPDIR:-/var/tmp}
work=$(mktemp -d "$place/respct-test-XXXXXX") || exit 1
cd "$work" || exit 1
store=$work/store
mounted=''

# ---- words ----

# Numbers are used again, also by processes that are not ours: ours have $work, or one in it, as their directory.
is_ours()
{
	case $(readlink "/proc/$1/cwd" 2>/dev/null) in
	"$work" | "$work"/*) ;;
	*) return 1 ;;
	esac
}

clean_up()
{
	for process in /proc/[0-9]*; do
		process=${process#/proc/}
		[ "$process" = $$ ] || ! is_ours "$process" || kill -9 "$process" 2>/dev/null
	done
	wait
	cd /
	[ -z "$mounted" ] || umount "$mounted"
	rm -rf "$work"
}

fail()
{
	for file in err errors restored-errors; do
		[ ! -s $file ] || sed "s/^/  $file: /" $file
	done
	echo "FAILED: $*"
	exit 1
}

skip()
{
	echo "skipped: $*"
	exit 77
}

# refused STATUS WORDS COMMAND...: COMMAND must end with STATUS, saying one line with WORDS in it.
refused()
{
	wanted=$1 words=$2
	shift 2
	timeout 60 "$@" >out 2>err </dev/null
	status=$?
	[ $status -eq "$wanted" ] || fail "exit status $status instead of $wanted: $*"
	[ "$(wc -l <err)" -eq 1 ] || fail "$(wc -l <err) lines on stderr instead of one: $*"
	[ ! -s out ] || fail "output on stdout: $*"
	grep -qi -e "$words" err || fail "the message does not say \"$words\": $*"
}

# value KEY: from `respct stat` of the store.
value()
{
	"$respct" stat "$store" 2>/dev/null | sed -n "s/^$1: //p"
}

# await SECONDS COMMAND...: until COMMAND succeeds.
await()
{
	deadline=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$deadline" ] || fail "waited in vain for: $*"
		sleep 0.03
	done
}

epoch_above()
{
	epoch=$(value epoch)
	[ "${epoch:-0}" -gt "$1" ]
}

is_gone()
{
	! is_ours "$1"
}

# Sets $program to the number in the store's pid file, which must be that of a process of ours.
find_program()
{
	program=$(cat "$store/pid")
	is_ours "$program" || fail "the store's pid file says \"$program\", no process of ours"
}

# Starts a program under respct; its pid in $child; returns after its first checkpoint.
start()
{
	rm -f go
	"$respct" run --store "$store" -- "$@" >output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 0
}

start_restored()
{
	"$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	await 30 epoch_above "$1"
}

kill_program()
{
	find_program
	kill -9 "$program"
	wait "$child" 2>/dev/null
}

# A store that holds a crashed run of waiter.
make_crashed_store()
{
	start "$helpers/waiter" "$@"
	kill_program
}

# Ends with this status after `go`.
finish()
{
	: >go
	wait "$child"
	status=$?
	[ $status -eq "$1" ] || fail "the program ended with $status instead of $1"
	[ "$(cat output)" = "$(printf 'waiting\ndone')" ] || fail "the output is: $(cat output)"
}
