#!/bin/sh
# Faults while a program runs, or while it is restored: faults.sh TEST [UID].
#
# TEST is a group of fail points, the part of their names before the dot (runtime/base/fail.h): each point of it is
# gone to, with every action. Or one of the test_ functions below: what can go wrong with a store, for real.
# The program is helpers/fault_worker, which checks itself. With UID, as that user. Exit status: 0 passed,
# 1 failed (the last line says why), 77 cannot run here.
#
# SEED=N repeats the choice of when the first kill comes; ROUNDS=N goes N times through a group.
# shellcheck disable=SC2015,SC2034,SC2086,SC2154 # `fail` ends the script; lists are meant; words.sh has variables
set -u

if [ $# -gt 1 ]; then
	exec setpriv --reuid "$2" --regid "$2" --clear-groups "$0" "$1"
fi

# shellcheck source=tests/e2e/words.sh
. "$(dirname "$0")/words.sh"

# ---- words ----

PATIENCE=120 # seconds until a point must have been reached, on a busy machine
ERRORS='enospc eio enomem emfile erofs'
seed=${SEED:-$(date +%N)}
seed=$((1${seed#0} % 1000000))
cases=0

# Sets $number to a reproducible number from 1 to $1.
random_number()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	number=$((seed / 65536 % $1 + 1))
}

interval=2 # ms
mode='' # PLAIN: the worker leaves files alone; LATER: changes none until there is `begin`

# Starts worker in a fresh store, with RESPCT_FAIL=$1; its pid in $child.
start_worker()
{
	rm -rf "$store" begin finish output errors overwritten replaced
	RESPCT_INTERVAL_MS=$interval RESPCT_FAIL=$1 "$respct" run --store "$store" -- "$helpers/fault_worker" $mode >output 2>errors </dev/null &
	child=$!
}

has_ended()
{
	! kill -0 "$child" 2>/dev/null || grep -q '^State:.Z' "/proc/$child/status" 2>/dev/null
}

is_far_enough()
{
	has_ended || epoch_above "$1"
}

# dies_killed WHAT: the process in $child does so, by itself.
dies_killed()
{
	await $PATIENCE has_ended
	wait "$child" 2>/dev/null
	status=$?
	[ $status -eq 137 ] || fail "$1: it ended with $status instead of being killed: $(tail -n 1 output)"
}

# The worker ends well when told to.
ends_well()
{
	: >finish
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "$1: it ended with $status: $(tail -n 3 errors restored-errors 2>/dev/null)"
	[ "$(cat output)" = "$(printf 'begun\nall is right')" ] || fail "$1: the output is: $(cat output)"
	[ "$(value state)" = ended ] || fail "$1: the store says $(value state)"
}

# What a killed run left must be whole: the program goes on, takes checkpoints, and ends well.
comes_back()
{
	rm -f finish
	epoch=$(value epoch)
	case $(value state) in
	ended)
		[ "$(tail -n 1 output)" = 'all is right' ] || fail "$1: it had ended, but the output is: $(cat output)"
		refused 125 'ended by itself' "$restore" "$store"
		return
		;;
	'')
		refused 125 'no such file' "$restore" "$store"
		return
		;;
	empty)
		refused 125 'no checkpoint has been committed' "$restore" "$store"
		return
		;;
	esac
	"$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	await $PATIENCE is_far_enough "$epoch"
	ends_well "$1"
}

# As many lines that protection has stopped as that it is back; at least $2, at most $3.
lines_match()
{
	stopped=$(grep -c 'running unprotected' errors)
	resumed=$(grep -c 'protected again' errors)
	[ "$stopped" -eq "$resumed" ] || fail "$1: protection stopped $stopped times and came back $resumed times"
	[ "$stopped" -ge "$2" ] && [ "$stopped" -le "$3" ] || fail "$1: protection stopped $stopped times, not $2 to $3"
	[ "$(grep -vc 'will not undo' errors)" -eq $((1 + stopped + resumed)) ] || fail "$1: more lines than these"
}

# ---- points of a running program ----

# POINT: killed there, early.
kill_at()
{
	case $1 in
	memory.map) random_number 30 ;;
	memory.* | store.map | store.grow | store.cut | end.*) number=1 ;;
	*) random_number 3 ;;
	esac
	echo "  $1:kill:$number (SEED=$seed)"
	start_worker "$1:kill:$number"
	case $1 in
	end.* | store.cut)
		await $PATIENCE epoch_above 0
		: >finish
		;;
	esac
	dies_killed "$1:kill:$number"
	comes_back "$1:kill:$number"
	cases=$((cases + 1))
}

# POINT EFFECT: all errors, one after another; then it is killed there. Between them the point is passed often
# enough for the step to succeed as a whole, also where it has many such points.
fail_at()
{
	case $1 in
	settle.chunk | settle.slot | record.stored | store.write | store.drain | store.punch) apart=40 ;;
	*) apart=4 ;;
	esac
	settings='' first=$((apart / 2))
	for error in $ERRORS; do
		# Twice, as a full device is tried once more before it counts as full.
		settings=$settings$1:$error:$first:2,
		first=$((first + apart))
		cases=$((cases + 1))
	done
	echo "  $settings$1:kill:$((first + 4 * apart))"
	start_worker "$settings$1:kill:$((first + 4 * apart))"
	dies_killed "$1, after errors"
	case $2 in
	suspends) lines_match "$1" 1 5 ;;
	goes_by) lines_match "$1" 0 0 ;;
	esac
	comes_back "$1, after errors"
}

# POINT EFFECT: one that is reached now and then only. Each error once: at the start that is a refusal, later
# it may stop protection, which comes back.
fail_rarely_at()
{
	for error in $ERRORS; do
		random_number 30
		what=$1:$error:$number
		echo "  $what (SEED=$seed)"
		start_worker "$1:$error:$number"
		await $PATIENCE is_far_enough 30
		cases=$((cases + 1))
		if has_ended; then
			wait "$child" 2>/dev/null
			status=$?
			[ $status -eq 125 ] && [ "$(wc -l <errors)" -eq 1 ] || fail "$what: it ended with $status"
			continue
		fi
		kill_program
		lines_match "$what" 0 1
		comes_back "$what"
	done
}

# POINT: of the undo log. What could not be saved is not undone: so no kill; but one line, and the program goes on.
fail_undo_at()
{
	settings='' first=2
	for error in $ERRORS; do
		settings=$settings$1:$error:$first:2,
		first=$((first + 4))
		cases=$((cases + 1))
	done
	echo "  ${settings%,}"
	start_worker "${settings%,}"
	await $PATIENCE grep -q 'will not undo' errors
	sleep 0.2
	rm -f finish
	ends_well "$1"
	[ "$(wc -l <errors)" -eq 2 ] || fail "$1: more lines than one"
}

run_point()
{
	kill_at "$1"
	case $1:$2 in
	undo.*:goes_by) fail_undo_at "$1" ;;
	memory.*:* | store.map:* | store.grow:* | store.cut:*) fail_rarely_at "$1" "$2" ;;
	*:suspends | *:goes_by) fail_at "$1" "$2" ;;
	esac
}

# ---- points of a restore ----

# A store to restore from, with changes of files to undo: they begin when there is a checkpoint that has the files.
make_store()
{
	mode=LATER
	start_worker undo.saved:kill:100
	await $PATIENCE [ -s replaced ]
	epoch=$(value epoch)
	await $PATIENCE is_far_enough "${epoch:-0}"
	: >begin
	dies_killed 'the store to restore'
}

# POINT EFFECT: errors, then a kill, and after all that a restore that is left alone.
restore_point()
{
	echo "  $1"
	# That a removed file is among the changes is only sure when no checkpoint comes in between.
	[ "$1" = restore.remade ] && interval=3000 || interval=2
	make_store
	if [ "$2" = refuses ]; then
		for error in $ERRORS; do
			RESPCT_FAIL=$1:$error refused 125 "$store\|cannot rebuild\|cannot undo\|cannot make" "$restore" "$store"
			cases=$((cases + 1))
		done
	fi
	rm -f finish
	RESPCT_FAIL=$1:kill timeout $PATIENCE "$restore" "$store" >out 2>err </dev/null
	status=$?
	[ $status -eq 137 ] || fail "$1:kill: respct-restore ended with $status"
	cases=$((cases + 1))
	comes_back "$1:kill"
}

# ---- what others do to a store ----

# Starts worker and lets it take some checkpoints.
start_undisturbed()
{
	start_worker "$1"
	await $PATIENCE epoch_above 5
}

# is_protected_again N: after having stopped N times, or more: two files are not cut at once.
is_protected_again()
{
	if has_ended; then
		wait "$child"
		fail "the program ended with $?"
	fi
	again=$(grep -c 'protected again' errors)
	[ "$again" -ge "$1" ] && [ "$again" -eq "$(grep -c 'running unprotected' errors)" ]
}

# FILES...: are made shorter while the program runs. It takes a new store in the same place.
test_file_cut()
{
	start_undisturbed ''
	again=0
	for file in log super home index undo0 undo1 'log super' 'home index undo0'; do
		echo "  $file"
		for one in $file; do
			await $PATIENCE [ -s "$store/$one" ]
		done
		before=$again
		for one in $file; do
			: >"$store/$one"
		done
		await $PATIENCE is_protected_again $((before + 1))
		await $PATIENCE epoch_above 5
	done
	lines_match 'after all' 8 11
	kill_program
	comes_back 'cut files'
}

# Again, should there have been nothing to cut: the store was just about to be made anew.
is_cut_and_protected_again()
{
	: >"$store/log"
	: >"$store/undo0"
	sleep 0.1
	is_protected_again "$1"
}

# Cut just where it hurts: between two steps, while the process is held there.
test_file_cut_between_steps()
{
	for point in checkpoint.captured commit.tail commit.drain commit.record record.stored settle.chunk settle.slot \
		settle.record settle.rewind undo.append; do
		echo "  $point"
		start_worker "$point:stop:4"
		await $PATIENCE is_stopped
		: >"$store/log"
		: >"$store/super"
		: >"$store/undo0"
		: >"$store/undo1"
		kill -CONT "$child"
		await $PATIENCE is_protected_again 1
		await $PATIENCE epoch_above 5
		lines_match "$point" 1 4
		kill_program
		comes_back "cut at $point"
	done
}

# stopped_and_cut POINT FILE: cuts the file while the process is held there; false when there is nothing to cut.
stopped_and_cut()
{
	start_worker "$1"
	await $PATIENCE is_stopped_or_runs_on
	if ! is_stopped || ! [ -s "$store/$2" ]; then
		kill -KILL "$child"
		wait "$child" 2>/dev/null
		return 1
	fi
	: >"$store/$2"
	kill -CONT "$child"
}

# Cut after it was looked at, just before it grows or is written to, which may give it its size back.
test_file_cut_at_growth()
{
	cuts=0
	for point in store.grow store.write; do
		for file in log home index; do
			for time in 2 3 4 5 6 7; do
				echo "  $file at $point, time $time"
				stopped_and_cut "$point:stop:$time" $file || continue
				await $PATIENCE is_protected_again 1
				await $PATIENCE epoch_above 5
				lines_match "$file at $point" 1 1
				kill_program
				comes_back "$file at $point"
				cuts=$((cuts + 1))
			done
		done
	done
	echo "  $cuts cuts"
	[ $cuts -ge 6 ] || fail "there was something to cut $cuts times only"
}

# The point may not be reached so often.
is_stopped_or_runs_on()
{
	is_stopped || epoch_above 60
}

is_stopped()
{
	grep -q '^State:.T' "/proc/$child/status" 2>/dev/null
}

# ends_without_store WHAT: the program ends well, having said one line, and another store there is left alone.
ends_without_store()
{
	await $PATIENCE grep -q 'it has been removed: running unprotected; nothing can be restored' errors
	rm -rf "$store"
	mkdir "$store"
	echo 1 >"$store/pid"
	sleep 0.3
	: >finish
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "$1: it ended with $status"
	[ "$(cat output)" = "$(printf 'begun\nall is right')" ] || fail "$1: the output is: $(cat output)"
	[ "$(wc -l <errors)" -eq 2 ] || fail "$1: more lines than one"
	[ "$(ls "$store")" = pid ] || fail "$1: another store's directory was changed"
}

test_store_removed()
{
	start_undisturbed ''
	rm -rf "$store"
	ends_without_store 'removed'
	for file in super log home index lock undo0; do
		start_undisturbed ''
		rm "$store/$file"
		ends_without_store "$file removed"
	done
}

# A store in another place is a store all the same.
test_store_moved()
{
	start_undisturbed ''
	mv "$store" moved
	store=$work/moved
	await $PATIENCE epoch_above "$(($(value epoch) + 5))"
	lines_match moved 0 0
	kill_program
	mv "$store" "$work/store"
	store=$work/store
	comes_back moved
}

# The program's own SIGBUS, with handlers of all kinds, while the store's files are cut.
test_bus_handlers()
{
	rm -f finish
	RESPCT_INTERVAL_MS=2 "$respct" run --store "$store" -- "$helpers/bus_user" >output 2>errors </dev/null &
	child=$!
	await $PATIENCE epoch_above 5
	again=0
	for count in 1 2 3 4 5 6; do
		before=$again
		await $PATIENCE is_cut_and_protected_again $((before + 1))
	done
	kill_program
	comes_back 'a program with SIGBUS handlers'
}

# ---- groups ----

go_through()
{
	# The undo log, too, uses these: what it could not save is not undone.
	case $1 in
	store | memory) mode=PLAIN ;;
	esac
	"$helpers/fail_points" >points
	grep "^$1\." points >group || fail "there is no point of this name"
	while read -r point effect <&3; do
		case $1 in
		restor* | resume) restore_point "$point" "$effect" ;;
		*) run_point "$point" "$effect" ;;
		esac
	done 3<group
}

# ---- run ----

trap clean_up EXIT
trap 'exit 1' INT TERM
unset LD_PRELOAD RESPCT_STORE RESPCT_VERIFY RESPCT_INTERVAL_MS RESPCT_DURABILITY RESPCT_QUIET RESPCT_FRESH RESPCT_FAIL
case $(type "test_$1" 2>/dev/null) in
*function*)
	"test_$1"
	echo "ok $1"
	;;
*)
	round=0
	while [ $round -lt "${ROUNDS:-1}" ]; do
		go_through "$1"
		round=$((round + 1))
	done
	echo "ok $1 ($(wc -l <group) points, $cases cases)"
	;;
esac
