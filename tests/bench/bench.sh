#!/bin/sh
# Measures what protection costs; prints a table in Markdown.
#
#   tests/bench/bench.sh [--runs N] [--seconds N] [--heap MIB] [memcached] [heap] [pairs]     all of them: nothing named
#
# Each figure is the median of N runs (5), with the smallest and largest in brackets. What is
# compared with an unprotected program runs in turn with it: unprotected, protected, unprotected ...
# A ratio is the median of the ratios of such neighbours. The heap has 1024 MiB. Runs $BUILD (build);
# see bench.mk. Works as any user; stores go to a directory in /dev/shm, removed at the end.
set -u

STORE_EPOCHS=500

cd "$(dirname "$0")/../.." || exit 1
: "${BUILD:=build}"
runs=5 seconds=8 heap_mib=1024 parts='' started=''

usage()
{
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
	exit "$1"
}

while [ $# -gt 0 ]; do
	case $1 in
	--runs) runs=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	--heap) heap_mib=$2; shift ;;
	memcached | heap | pairs) parts="$parts $1" ;;
	--help) usage 0 ;;
	*) usage 1 >&2 ;;
	esac
	shift
done

dirty_pages=$((heap_mib * 256 / 100))
BUILD=$(cd "$BUILD" && pwd)
RESPCT_BUILD=$BUILD
export RESPCT_BUILD
unset LD_PRELOAD RESPCT_STORE RESPCT_VERIFY RESPCT_INTERVAL_MS RESPCT_DURABILITY
programs=$BUILD/tests/bench
work=$(mktemp -d /dev/shm/respct-bench-XXXXXX)
figures=$work/figures

# Ends what was started last.
stop()
{
	[ -n "$started" ] || return 0
	kill -KILL "$started" 2>/dev/null
	wait "$started" 2>/dev/null
	started=''
}

clean_up()
{
	stop
	rm -rf "$work"
}

trap clean_up EXIT
trap 'exit 130' INT TERM

die()
{
	echo "bench: $*" >&2
	exit 1
}

# note PREFIX: takes "key value" lines into the figures.
note()
{
	while read -r key value; do
		echo "$1$key $value" >>"$figures"
	done
}

# respct_run [OPTION...] PROGRAM...: in a new store; becomes the program.
respct_run()
{
	rm -rf "$work/store"
	exec "$BUILD/respct" run --quiet --store "$work/store" "$@"
}

# ---- figures ----

values_of()
{
	awk -v key="$1" '$1 == key { print $2 }' "$figures" | sort -n
}

# show KEY FORMAT: "median (smallest to largest)"
show()
{
	values_of "$1" | awk -v format="$2" '{ value[NR] = $1 }
		END {
			if (NR == 0) { print "-"; exit }
			printf format " (" format " to " format ")\n", value[int((NR + 1) / 2)], value[1], value[NR]
		}'
}

# ratio A B NAME: run by run.
ratio()
{
	awk -v a="$1" -v b="$2" -v name="$3" '
		$1 == a { upper[++n] = $2 }
		$1 == b { lower[++m] = $2 }
		END { for (i = 1; i <= n; i++) printf "%s %.4f\n", name, upper[i] / lower[i] }' "$figures" >"$work/ratio"
	cat "$work/ratio" >>"$figures"
}

row()
{
	printf '| %s | %s |\n' "$1" "$2"
}

# ---- memcached ----

start_memcached()
{
	user=''
	[ "$(id -u)" -ne 0 ] || user='-u nobody'
	# shellcheck disable=SC2086 # options
	if [ "$1" = protected ]; then
		respct_run --interval 64 -- memcached -l 127.0.0.1 -p "$port" -U 0 -m 512 -t 4 $user
	else
		exec memcached -l 127.0.0.1 -p "$port" -U 0 -m 512 -t 4 $user
	fi
}

measure_memcached()
{
	port=$("$BUILD/tests/memcached_load" port)
	start_memcached "$1" &
	started=$!
	"$BUILD/tests/memcached_load" wait "$port" || die "memcached ($1) does not answer"
	"$programs/memcached_rate" "$port" "$seconds" >"$work/output" || die "memcached ($1) failed"
	note "memcached_$1_" <"$work/output"
	[ "$1" != protected ] || "$BUILD/respct" stat "$work/store" | sed -n 's/^\(parked_us_[a-z0-9]*\): /\1 /p' |
		note memcached_
	stop
}

bench_memcached()
{
	i=0
	while [ $((i += 1)) -le "$runs" ]; do
		measure_memcached unprotected
		measure_memcached protected
	done
	key=operations_per_second
	ratio memcached_protected_$key memcached_unprotected_$key memcached_ratio
	row 'memcached, 8 connections, 90 % get, unprotected, operations/s' "$(show memcached_unprotected_$key %.0f)"
	row '— protected, every 64 ms' "$(show memcached_protected_$key %.0f)"
	row '— protected / unprotected' "$(show memcached_ratio %.3f)"
	row '— parked per checkpoint, median, µs' "$(show memcached_parked_us_median %.0f)"
	row '— parked per checkpoint, p99 (first ones included), µs' "$(show memcached_parked_us_p99 %.0f)"
}

# ---- the large heap ----

start_heap()
{
	respct_run --interval 64 -- "$programs/heap" "$work/state" "$heap_mib" "$dirty_pages"
}

measure_heap()
{
	rm -f "$work/state"
	start_heap &
	started=$!
	"$programs/heap_watch" ready "$work/state" "$work/store" || die "the heap does not get ready"
	"$programs/heap_watch" stops "$work/state" "$work/store" "$seconds" >"$work/output" || die "no stops"
	note heap_ <"$work/output"
	stop
	"$programs/heap_watch" restore "$work/state" "$work/store" >"$work/output" 2>"$work/errors" ||
		die "restore failed: $(cat "$work/errors")"
	note heap_ <"$work/output"
	rm -rf "$work/store"
}

measure_store()
{
	"$programs/store_bytes" "$work/store" "$heap_mib" "$dirty_pages" $STORE_EPOCHS >"$work/output" || die "store_bytes"
	note '' <"$work/output"
	rm -rf "$work/store"
}

bench_heap()
{
	i=0
	while [ $((i += 1)) -le "$runs" ]; do
		measure_heap
	done
	measure_store
	awk 'NR == FNR { if ($1 == "store_bytes_per_page") bytes = $2; next }
		$1 == "heap_appended_per_dirtied" { printf "bytes_per_dirty_page %.0f\n", bytes * $2 }' \
		"$figures" "$figures" >"$work/product"
	cat "$work/product" >>"$figures"
	row "parked per checkpoint, $heap_mib MiB heap, $dirty_pages pages dirtied per 64 ms, median, µs" \
		"$(show heap_parked_us_median %.0f)"
	row '— p99, µs' "$(show heap_parked_us_p99 %.0f)"
	row '— stops measured in a run' "$(show heap_stops %.0f)"
	row '— time from one checkpoint to the next, ms' "$(show heap_interval_ms %.1f)"
	row '— pages dirtied in 64 ms, in fact' "$(show heap_dirtied_per_64ms %.0f)"
	row '— pages copied in the stop' "$(show heap_in_stop_per_stop %.0f)"
	row 'bytes written per dirty page' "$(show bytes_per_dirty_page %.0f)"
	row '— pages appended per page dirtied' "$(show heap_appended_per_dirtied %.3f)"
	row '— bytes written per page appended' "$(show store_bytes_per_page %.0f)"
	row '— of these, to the log / to home and index' \
		"$(values_of log_bytes_per_page) / $(values_of home_bytes_per_page)"
	row "respct-restore to the first step, $heap_mib MiB heap, ms" "$(show heap_restore_ms %.0f)"
}

# ---- pairs of calls ----

# Only the first checkpoint is taken: what is measured are the calls, not the stops.
measure_pairs()
{
	if [ "$1" = protected ]; then
		(respct_run --interval 600000 -- "$programs/pairs") >"$work/output" || die "pairs"
	else
		"$programs/pairs" >"$work/output" || die "pairs"
	fi
	note "pairs_$1_" <"$work/output"
}

bench_pairs()
{
	i=0
	while [ $((i += 1)) -le "$runs" ]; do
		measure_pairs unprotected
		measure_pairs protected
	done
	row 'pthread_mutex_lock + unlock, unprotected, ns' "$(show pairs_unprotected_lock_ns %.1f)"
	row '— protected, ns' "$(show pairs_protected_lock_ns %.1f)"
	row 'malloc + free, unprotected (glibc), ns' "$(show pairs_unprotected_malloc_ns %.1f)"
	row '— protected (jemalloc), ns' "$(show pairs_protected_malloc_ns %.1f)"
}

# ---- all ----

: >"$figures"
echo "Linux $(uname -r), $(nproc) cores, load average $(cut -d ' ' -f 1 /proc/loadavg) at the start; medians of" \
	"$runs runs (smallest to largest)."
echo
echo '| figure | value |'
echo '| --- | --- |'
for part in ${parts:-memcached heap pairs}; do
	"bench_$part"
done
echo
echo "Load average at the end: $(cut -d ' ' -f 1 /proc/loadavg), this benchmark included."
