#!/bin/sh
# What the commands refuse and say: command_line.sh TEST [UID], TEST one of the test_ functions below.
#
# A refusal is exactly one line on stderr, nothing on stdout, and exit status 125. With UID, as that
# user. Exit status: 0 passed, 1 failed (the last line says why), 77 cannot run here.
# shellcheck disable=SC2015,SC2016,SC2034,SC2059,SC2086 # `fail` ends the script; formats and lists are meant
set -u

if [ $# -gt 1 ]; then
	exec setpriv --reuid "$2" --regid "$2" --clear-groups "$0" "$1"
fi

# shellcheck source=tests/e2e/words.sh
. "$(dirname "$0")/words.sh"

# restores_or_refuses: a damaged store gives a message, or the whole process, never anything else.
restores_or_refuses()
{
	: >go
	printf 'waiting\n' >output
	timeout 60 "$restore" "$store" >out 2>err </dev/null
	status=$?
	case $status in
	0)
		[ "$(cat output)" = "$(printf 'waiting\ndone')" ] || fail "$1: restored wrongly: $(cat output)"
		;;
	125)
		[ "$(wc -l <err)" -eq 1 ] || fail "$1: $(wc -l <err) lines on stderr"
		;;
	*)
		fail "$1: respct-restore ended with $status"
		;;
	esac
	rm -f go
}

# ---- the commands themselves ----

test_help_and_version()
{
	for command in "$respct" "$restore" "$respct run" "$respct crash"; do
		$command --help >out 2>err || fail "$command --help: exit status $?"
		[ -s out ] && [ ! -s err ] || fail "$command --help must speak on stdout alone"
	done
	for command in "$respct" "$restore"; do
		$command --version >out 2>err || fail "$command --version: exit status $?"
		grep -q '[0-9]\.[0-9]' out && [ ! -s err ] || fail "$command --version: $(cat out)"
	done
}

test_wrong_options()
{
	refused 125 'no such command' "$respct" bogus
	refused 125 bogus "$respct" --bogus
	refused 125 bogus "$respct" run --bogus -- true
	refused 125 bogus "$restore" --bogus
	refused 125 . "$respct"
	refused 125 . "$respct" run
	refused 125 . "$respct" run --store
	refused 125 . "$respct" stat
	refused 125 . "$respct" inspect
	refused 125 . "$restore"
	refused 125 . "$restore" a b
	refused 125 INTERVAL "$respct" run --store "$store" --interval soon -- true
	refused 125 INTERVAL "$respct" run --store "$store" --interval 0 -- true
	refused 125 INTERVAL "$respct" run --store "$store" --interval -5 -- true
	refused 125 DURABILITY "$respct" run --store "$store" --durability eternal -- true
}

test_missing_program()
{
	refused 127 'not found' "$respct" run --store "$store" -- no-such-program-here
	refused 127 'no such file' "$respct" run --store "$store" -- ./missing
	[ ! -e "$store" ] || fail "a store was made for a program that does not exist"
}

test_not_executable()
{
	: >file
	chmod 644 file
	refused 126 'denied' "$respct" run --store "$store" -- ./file
	refused 126 . "$respct" run --store "$store" -- /
}

test_static_binary()
{
	refused 125 static "$respct" run --store "$store" -- "$helpers/static_program"
}

test_setuid_binary()
{
	cp "$helpers/waiter" program
	[ "$(id -u)" -ne 0 ] || chown 65534 program
	chmod 4755 program
	refused 125 setuid "$respct" run --store "$store" -- ./program
	chmod 755 program
	[ "$(id -u)" -ne 0 ] || chgrp 65534 program
	chmod 2755 program
	[ "$(id -u)" -ne 0 ] || refused 125 setgid "$respct" run --store "$store" -- ./program
}

test_missing_store()
{
	refused 125 'no such file' "$restore" "$work/missing"
	refused 125 'no such file' "$respct" stat "$work/missing"
	refused 125 'no such file' "$respct" inspect "$work/missing"
	mkdir empty
	refused 125 . "$restore" empty
	refused 125 . "$respct" stat empty
	: >file
	refused 125 . "$restore" file
	refused 125 . "$respct" stat file
}

test_unwritable_place()
{
	: >file
	refused 125 . "$respct" run --store "$work/file/store" -- true
	refused 125 . "$respct" run --store "$work/file" -- true
	refused 125 . "$respct" run --store /proc/store -- true
	[ "$(id -u)" -eq 0 ] && return
	mkdir closed
	chmod 555 closed
	refused 125 denied "$respct" run --store "$work/closed/store" -- true
}

# ---- stores and who may have them ----

test_store_in_use()
{
	start "$helpers/waiter"
	refused 125 'in use' "$respct" run --store "$store" -- true
	refused 125 'in use' "$respct" run --fresh --store "$store" -- true
	refused 125 'in use' "$restore" "$store"
	finish 0
}

test_crashed_store()
{
	make_crashed_store 3
	before=$(value epoch)
	refused 125 fresh "$respct" run --store "$store" -- true
	[ "$(value epoch)" = "$before" ] || fail "the refused run changed the store"
	start_restored "$before"
	finish 3
}

test_fresh_overrides()
{
	make_crashed_store
	RESPCT_QUIET=1 "$respct" run --fresh --store "$store" -- echo again >out 2>err || fail "--fresh: exit status $?"
	[ "$(cat out)" = again ] && [ ! -s err ] || fail "--fresh: $(cat out err)"
}

test_ended_store()
{
	start "$helpers/waiter" 0
	finish 0
	[ "$(value state)" = ended ] || fail "the state is $(value state)"
	refused 125 ended "$restore" "$store"
	RESPCT_QUIET=1 "$respct" run --store "$store" -- echo again >out 2>err || fail "over an ended run: exit status $?"
	[ "$(cat out)" = again ] && [ ! -s err ] || fail "over an ended run: $(cat out err)"
}

test_permissions()
{
	start "$helpers/waiter"
	[ "$(stat -c %a "$store")" = 700 ] || fail "the store's mode is $(stat -c %a "$store")"
	for file in "$store"/*; do
		[ "$(stat -c %a "$file")" = 600 ] || fail "the mode of $file is $(stat -c %a "$file")"
	done
	[ "$(wc -l <"$store/pid")" -eq 1 ] && [ "$(cat "$store/pid")" = "$child" ] || fail "pid: $(cat "$store/pid")"
	finish 0
}

test_store_of_another_user()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to make a store of another user"
	make_crashed_store
	chmod 711 "$work"
	chmod 777 "$store"
	chown 65533 "$store" "$store"/*
	as_other="setpriv --reuid 65534 --regid 65534 --clear-groups"
	refused 125 . $as_other "$restore" "$store"
	refused 125 . $as_other "$respct" run --store "$store" --fresh -- true
	chmod 711 "$store"
	refused 125 . $as_other "$restore" "$store"
}

test_store_open_to_others()
{
	make_crashed_store
	chmod 770 "$store"
	refused 125 . "$restore" "$store"
	refused 125 . "$respct" run --fresh --store "$store" -- true
	chmod 700 "$store"
	chmod 666 "$store"/*
	refused 125 . "$restore" "$store"
}

# Root may look at it. To restore it would be to run what its owner has put there, as root; to write to it, to
# show that to its owner.
test_store_of_a_user_and_root()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	make_crashed_store
	chown 65534 "$store" "$store"/*
	refused 125 'belongs to user 65534' "$restore" "$store"
	refused 125 'belongs to user 65534' "$respct" run --store "$store" --fresh -- true
	"$respct" stat "$store" >out 2>err || fail "root may not look at it"
	chown 0 "$store" "$store"/*
	restores_or_refuses "root's own"
}

test_symbolic_link_to_a_store()
{
	make_crashed_store
	ln -s "$store" link
	for path in link link/ "$work/link//"; do
		refused 125 'symbolic link' "$restore" "$path"
		refused 125 'symbolic link' "$respct" stat "$path"
		refused 125 'symbolic link' "$respct" inspect "$path"
		refused 125 'symbolic link' "$respct" run --fresh --store "$path" -- true
	done
	restores_or_refuses "the store itself"
}

# A directory that has files of a store's names and is none: they stay.
test_directory_of_others()
{
	mkdir "$store"
	for name in log home index; do
		echo precious >"$store/$name"
		refused 125 'no store' "$respct" run --store "$store" -- true
		[ "$(cat "$store/$name")" = precious ] || fail "$name has been overwritten"
		rm "$store/$name"
	done
	mkfifo "$store/super.new"
	refused 125 'no store' "$respct" run --store "$store" -- true
}

# ends_soon COMMAND...: by itself, with a status of the command's.
ends_soon()
{
	timeout 60 "$@" >out 2>err </dev/null
	status=$?
	[ $status -eq 0 ] || [ $status -eq 125 ] || fail "exit status $status: $*"
	[ $status -eq 0 ] || [ "$(wc -l <err)" -eq 1 ] || fail "$(wc -l <err) lines on stderr instead of one: $*"
}

# Nothing waits for the other side of a FIFO.
test_fifos_in_a_store()
{
	make_crashed_store
	cp -a "$store" whole
	for name in super log home index undo0 undo1 lock pid statistics crash; do
		rm -rf "$store"
		cp -a whole "$store"
		rm -f "$store/$name"
		mkfifo -m 600 "$store/$name"
		ends_soon "$respct" stat "$store"
		ends_soon "$respct" inspect "$store"
		restores_or_refuses "$name a FIFO"
		: >go
		ends_soon "$respct" run --quiet --fresh --store "$store" -- true
	done
}

test_program_replaced_by_a_fifo()
{
	cp "$helpers/waiter" program
	start "$work/program"
	kill_program
	rm program
	mkfifo program
	refused 125 program "$restore" "$store"
}

test_hard_links_in_a_store()
{
	make_crashed_store
	for name in super log home index lock; do
		ln "$store/$name" other
		refused 125 'hard link' "$respct" run --fresh --store "$store" -- true
		rm other
	done
	echo precious >precious
	for name in pid undo0; do
		cp -a "$store" whole
		ln -f precious "$store/$name"
		: >go
		ends_soon "$restore" "$store"
		[ "$(cat precious)" = precious ] || fail "$name has been written to"
		rm -rf "$store" go
		mv whole "$store"
		printf 'waiting\n' >output
	done
}

# ---- damage ----

# Another byte at OFFSET of FILE.
flip()
{
	old=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	printf "\\$(printf %03o $((old ^ (1 << ($2 % 8)))))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# A number below $1, the same ones in every run.
random_below()
{
	random_state=$(((random_state * 1103515245 + 12345) % 2147483648))
	echo $((random_state / 8 % $1))
}

test_damaged_store()
{
	make_crashed_store
	cp -a "$store" whole
	random_state=1
	for name in $(cd whole && find . -type f -size +0 ! -name pid ! -name lock); do
		size=$(stat -c %s "whole/$name")
		for number in 1 2 3 4 5 6; do
			rm -rf "$store"
			cp -a whole "$store"
			random_below "$size" >/dev/null
			offset=$((number <= 2 ? number * 8 : random_state % size))
			flip "$store/$name" $offset
			"$respct" stat "$store" >/dev/null 2>&1
			[ $? -le 125 ] || fail "stat of $name damaged at $offset ended by a signal"
			"$respct" inspect "$store" >/dev/null 2>&1
			[ $? -le 125 ] || fail "inspect of $name damaged at $offset ended by a signal"
			restores_or_refuses "$name damaged at $offset"
		done
	done
}

test_truncated_store()
{
	make_crashed_store
	cp -a "$store" whole
	for name in $(cd whole && find . -type f -size +0 ! -name pid ! -name lock); do
		size=$(stat -c %s "whole/$name")
		for length in 0 1 $((size / 2)) $((size - 1)) $((size - 4096)); do
			[ "$length" -ge 0 ] || continue
			rm -rf "$store"
			cp -a whole "$store"
			truncate -s "$length" "$store/$name"
			"$respct" stat "$store" >/dev/null 2>&1
			[ $? -le 125 ] || fail "stat of $name cut to $length ended by a signal"
			restores_or_refuses "$name cut to $length"
		done
		rm -rf "$store"
		cp -a whole "$store"
		rm "$store/$name"
		restores_or_refuses "$name removed"
	done
}

test_foreign_files()
{
	make_crashed_store
	head -c 65536 /dev/urandom >noise
	for name in $(cd "$store" && find . -type f -size +0 ! -name pid ! -name lock ! -name statistics); do
		cp -a "$store" broken
		cat noise >"broken/$name"
		case $name in
		./undo?) ;; # one of the two is not in use
		*) refused 125 . "$restore" broken ;;
		esac
		rm -rf broken
	done
	cp -a "$store" broken
	cat noise >broken/undo0
	cat noise >broken/undo1
	refused 125 'undo log' "$restore" broken
}

test_program_changed()
{
	cp "$helpers/waiter" program
	start ./program
	kill_program
	cp "$helpers/grower" program.new
	mv program.new program
	refused 125 program "$restore" "$store"
	rm program
	refused 125 program "$restore" "$store"
}

test_program_the_same_again()
{
	cp "$helpers/waiter" program
	start ./program
	kill_program
	cp "$helpers/waiter" program.new
	mv program.new program
	start_restored "$(value epoch)"
	finish 0
}

# ---- a full device ----

test_full_device()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to mount a small file system"
	mkdir small
	mount -t tmpfs -o size=24m,mode=755 none small 2>/dev/null || skip "cannot mount a tmpfs here"
	mounted=$work/small
	store=$work/small/store
	start "$helpers/grower" 64
	: >grow
	await 30 grep -q grown output
	await 30 grep -q unprotected errors
	: >shrink
	await 30 grep -q shrunk output
	await 30 epoch_above "$(value epoch)"
	[ "$(grep -c unprotected errors)" -eq 1 ] || fail "$(grep -c unprotected errors) lines about the full device"
	before=$(value epoch)
	kill_program
	start_restored "$before"
	: >go
	wait "$child" || fail "after the restore the program ended with $?"
	[ "$(tail -n 1 output)" = "done" ] || fail "the output is: $(cat output)"
}

test_full_from_the_start()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to mount a small file system"
	mkdir small
	mount -t tmpfs -o size=64k,mode=755 none small 2>/dev/null || skip "cannot mount a tmpfs here"
	mounted=$work/small
	"$respct" run --store "$work/small/store" -- echo ran >out 2>err
	status=$?
	[ "$(wc -l <err)" -le 2 ] || fail "$(wc -l <err) lines on stderr"
	[ $status -eq 125 ] || { [ $status -eq 0 ] && [ "$(cat out)" = ran ]; } || fail "exit status $status, $(cat out)"
}

# ---- what the program and its surroundings see ----

test_exit_status()
{
	RESPCT_QUIET=1 "$respct" run --store "$store" -- sh -c 'echo out; echo err >&2; exit 9' >out 2>err
	status=$?
	[ $status -eq 9 ] || fail "exit status $status instead of 9"
	[ "$(cat out)" = out ] && [ "$(cat err)" = err ] || fail "stdout \"$(cat out)\", stderr \"$(cat err)\""
	"$respct" run --fresh --store "$store" -- sh -c 'kill -TERM $$' 2>err
	status=$?
	[ $status -eq 143 ] || fail "exit status $status instead of 143"
	"$respct" run --fresh --store "$store" -- sh -c 'kill -61 $$' 2>err # the number that stops threads
	status=$?
	[ $status -eq 189 ] || fail "exit status $status instead of 189"
}

# The number that stops threads: it works, within limits that one line names, and not of another number.
test_program_catches_our_signal()
{
	command -v python3 >/dev/null || skip "no python3"
	catch='import os, signal, sys
n = int(sys.argv[1])
signal.signal(n, lambda n, f: print("caught", n))
os.kill(os.getpid(), n)
signal.signal(n, signal.SIG_IGN)
os.kill(os.getpid(), n)
print(signal.getsignal(n) == signal.SIG_IGN)'
	for number in 61 60; do
		RESPCT_QUIET=1 "$respct" run --fresh --store "$store" -- python3 -c "$catch" $number >out 2>err || fail "exit status $?"
		[ "$(cat out)" = "caught $number
True" ] || fail "it printed $(cat out)"
		[ "$(grep -c "catches signal $number" err)" -eq $((number == 61)) ] || fail "stderr: $(cat err)"
		[ "$(wc -l <err)" -le 1 ] || fail "stderr: $(cat err)"
	done
	"$respct" run --fresh --store "$store" -- sh -c 'trap "" 61; "$0" -c "import os; os.kill(os.getpid(), 61); print(1)"' \
		python3 >out 2>err || fail "ignored, then inherited: exit status $?"
}

test_messages()
{
	"$respct" run --store "$store" -- true >out 2>err || fail "exit status $?"
	[ ! -s out ] || fail "output on stdout: $(cat out)"
	[ "$(wc -l <err)" -eq 1 ] && grep -q "$store" err || fail "stderr must say where the checkpoints go, in one line"
}

# More signals wait in the store than the restoring user may queue; who may raise the limit does.
test_restored_signal_limit()
{
	command -v python3 >/dev/null || skip "no python3"
	start python3 -c 'import os, signal, sys, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
for i in range(5): signal.pthread_kill(threading.get_ident(), 40)
open("ready", "w")
while not os.path.exists("go"): time.sleep(0.03)
count = 0
while signal.sigtimedwait([40], 0): count += 1
sys.exit(count)'
	await 30 [ -e ready ]
	await 30 epoch_above $(($(value epoch) + 1))
	kill_program
	prlimit --sigpending=2:2 "$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	if ! prlimit --sigpending=2:2 prlimit --sigpending=9:9 true 2>/dev/null; then
		wait $child
		status=$?
		[ $status -eq 125 ] || fail "exit status $status"
		grep -q 'making a signal pending again' restored-errors && [ "$(wc -l <restored-errors)" -eq 1 ] ||
			fail "stderr: $(cat restored-errors)"
		start_restored "$(value epoch)" # nothing is lost
	else
		await 30 epoch_above "$(value epoch)"
	fi
	[ ! -s restored-errors ] || fail "stderr: $(cat restored-errors)"
	: >go # the program counts: from outside, a checkpoint that is just being made shows the signals taken out
	wait $child
	status=$?
	[ $status -eq 5 ] || fail "exit status $status instead of 5, the number of signals that were pending"
}

# Not all may set a lower nice value than they have.
test_restored_nice_value()
{
	make_crashed_store
	nice -n 5 "$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	await 30 epoch_above "$(value epoch)"
	find_program
	nice=$(awk '{ print $19 }' "/proc/$program/stat")
	if [ "$(nice -n 5 nice -n -5 nice 2>/dev/null)" -eq 0 ]; then
		[ "$nice" -eq 0 ] || fail "nice value $nice instead of 0"
		[ ! -s restored-errors ] || fail "stderr: $(cat restored-errors)"
	else
		[ "$nice" -eq 5 ] || fail "nice value $nice: what did it try?"
		grep -q 'not set again: nice value$' restored-errors || fail "stderr: $(cat restored-errors)"
	fi
	finish 0
}

# Without room for a signal no thread can be stopped; the program runs all the same. The line comes after several attempts.
test_no_room_for_signals()
{
	rm -f go
	prlimit --sigpending=0:0 "$respct" run --store "$store" -- "$helpers/waiter" >output 2>errors </dev/null &
	child=$!
	await 60 grep -q 'cannot be stopped.*RLIMIT_SIGPENDING' errors
	[ "$(value epoch)" -eq 0 ] || fail "there is a checkpoint: how were the threads stopped?"
	finish 0
}

# Without rights over processors and limits, where root can give them up.
drop_rights()
{
	rights="setpriv --bounding-set -sys_nice,-sys_resource,-sys_admin"
	$rights true 2>/dev/null || rights=
}

# names_refused NAME COMMAND...: the store's program comes back under COMMAND, and one line says that NAME does not.
names_refused()
{
	name=$1
	shift
	"$@" "$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	await 30 epoch_above "$(value epoch)"
	grep -q "not set again: $name\$" restored-errors || fail "stderr: $(cat restored-errors)"
	[ "$(wc -l <restored-errors)" -eq 1 ] || fail "stderr: $(cat restored-errors)"
	finish 0
}

test_restored_resource_limit()
{
	drop_rights
	lower="prlimit --sigpending=5000:5000" higher="prlimit --sigpending=5001:5001"
	$higher true 2>/dev/null || skip "the limit of pending signals is low as it is"
	# shellcheck disable=SC2086 # words
	! $rights $lower $higher true 2>/dev/null || skip "limits may be raised here"
	make_crashed_store
	# shellcheck disable=SC2086 # words
	names_refused "resource limits" $rights $lower
}

test_restored_scheduling_policy()
{
	drop_rights
	chrt --idle 0 true || skip "chrt cannot set a policy here"
	# shellcheck disable=SC2086 # words
	! $rights chrt --idle 0 chrt --other 0 true 2>/dev/null || skip "the policy may be changed here"
	make_crashed_store
	# shellcheck disable=SC2086 # words
	names_refused "scheduling policy" $rights chrt --idle 0
}

test_restored_io_priority()
{
	drop_rights
	ionice -c 1 -p $$ 2>/dev/null || skip "ionice may not set the real-time class here"
	# shellcheck disable=SC2086 # words
	! $rights ionice -c 1 true 2>/dev/null || skip "the I/O priority may be changed here"
	make_crashed_store
	# shellcheck disable=SC2086 # words
	names_refused "I/O priority" $rights ionice -c 3
}

test_restored_exit_status()
{
	make_crashed_store 17
	start_restored "$(value epoch)"
	finish 17
	[ ! -s restored-output ] || fail "output on respct-restore's stdout: $(cat restored-output)"
}

test_restored_signal()
{
	make_crashed_store
	start_restored "$(value epoch)"
	find_program
	kill -TERM "$program"
	wait "$child"
	status=$?
	[ $status -eq 143 ] || fail "exit status $status instead of 143"
}

# respct-restore hands signals on: a service manager knows only it.
test_signal_through_restore()
{
	make_crashed_store
	start_restored "$(value epoch)"
	find_program
	kill -TERM "$child"
	wait "$child"
	status=$?
	[ $status -eq 143 ] || fail "exit status $status instead of 143"
	await 10 is_gone "$program"
}

# Killing respct-restore must not leave a program behind that nobody can find, nor lose the state.
test_kill_restore_itself()
{
	make_crashed_store
	start_restored "$(value epoch)"
	find_program
	kill -9 "$child"
	wait "$child" 2>/dev/null
	if is_gone "$program"; then
		start_restored "$(value epoch)"
		finish 0
	else
		refused 125 'in use' "$restore" "$store"
		kill -9 "$program"
		await 10 is_gone "$program"
		start_restored "$(value epoch)"
		finish 0
	fi
}

is_gone_or_above()
{
	is_gone "$child" || epoch_above "$1"
}

# Go has no room for signals on its stacks, and blocks them, opens files and ends by raw system calls.
test_go_program()
{
	command -v fzf >/dev/null || skip "fzf is not installed"
	seq 1 600000 >numbers
	fzf --filter 17 <numbers >expected
	kills=0
	for number in 1 2 3 4 5 6 7 8 9 10; do
		[ $kills -lt 10 ] || return 0
		rm -rf "$store"
		RESPCT_INTERVAL_MS=5 "$respct" run --store "$store" -- fzf --filter 17 <numbers >output 2>errors &
		child=$!
		epoch=0
		while await 60 is_gone_or_above $((epoch + 2)) && [ -e "$store/pid" ]; do
			program=$(cat "$store/pid")
			! is_ours "$program" || kill -9 "$program" 2>/dev/null
			wait "$child"
			status=$?
			[ $status -eq 137 ] || break
			kills=$((kills + 1))
			epoch=$(value epoch)
			RESPCT_INTERVAL_MS=5 "$restore" "$store" 2>restored-errors </dev/null &
			child=$!
		done
		[ $status -eq 0 ] || fail "it ended with $status"
		cmp output expected || fail "the output differs after $kills kills"
		grep -q 'in Go' errors || fail 'the user is not told of Go'
	done
	[ $kills -ge 10 ] || fail "only $kills kills: it ends too soon"
}

# A killed process with much memory takes its time to go; restore waits for it.
test_restored_at_once()
{
	"$respct" run --store "$store" -- "$helpers/grower" 200 >output 2>errors </dev/null &
	child=$!
	: >grow
	await 60 grep -q grown output
	await 60 epoch_above "$(($(value epoch) + 1))"
	for number in 1 2 3 4 5; do
		find_program
		kill -9 "$program"
		start_restored "$(value epoch)"
	done
	: >shrink
	await 60 grep -q shrunk output
	: >go
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "the program ended with $status"
	[ "$(cat output)" = "$(printf 'grown\nshrunk\ndone')" ] || fail "the output is: $(cat output)"
}

test_twice_restored()
{
	make_crashed_store 5
	for number in 1 2 3 4 5; do
		start_restored "$(value epoch)"
		kill_program
	done
	start_restored "$(value epoch)"
	finish 5
}

test_preload_without_the_command()
{
	LD_PRELOAD=$build/librespct.so RESPCT_STORE=$store "$helpers/waiter" 4 >output 2>errors &
	child=$!
	await 30 epoch_above 0
	kill_program
	start_restored "$(value epoch)"
	finish 4
}

# Children inherit the environment; they run unprotected and undisturbed, and say nothing.
test_children_are_left_alone()
{
	RESPCT_QUIET=1 "$respct" run --store "$store" -- sh -c "sh -c 'echo one | cat'; (echo two); true" >out 2>err
	[ "$(cat out)" = "$(printf 'one\ntwo')" ] && [ ! -s err ] || fail "stdout \"$(cat out)\", stderr \"$(cat err)\""
}

has_line()
{
	grep -q "$1" output
}

# A child that ran is gone after a restore: respct-restore says so, and the parent hears that it was killed.
test_lost_children()
{
	start bash -c 'sleep 1000 & sleep 0 & wait $!; echo ready; wait $(jobs -p); echo "ended with $?"'
	await 30 has_line ready
	await 30 epoch_above "$(($(value epoch) + 1))"
	orphans=$(cat "/proc/$child/task/$child/children")
	kill_program
	# shellcheck disable=SC2086 # a list
	kill $orphans
	"$restore" "$store" 2>restored-errors </dev/null || fail "the restored program ended with $?"
	[ "$(tail -1 output)" = "ended with 137" ] || fail "the output is: $(cat output)"
	grep -q "1 child process of the program's that ran at the checkpoint is gone.* ${orphans% }\$" restored-errors ||
		fail "no line about the child $orphans: $(cat restored-errors)"
}

# is_daemon FIRST: the store names a process of ours other than the one that was started.
is_daemon()
{
	daemon=$(cat "$store/pid" 2>/dev/null)
	[ -n "$daemon" ] && [ "$daemon" != "$1" ] && is_ours "$daemon"
}

# The one that stays is protected, in whatever way a program becomes a daemon.
become_daemon()
{
	"$respct" run --store "$store" -- "$helpers/daemonize" "$1" 500 >output 2>errors </dev/null &
	child=$!
	wait "$child" || fail "the first process ended with $?"
	await 30 is_daemon "$child"
	for number in 1 2 3 4 5; do
		await 30 epoch_above 1
		find_program # not that of a process on the way, which may have had the store for a moment
		kill -9 "$program"
		await 10 is_gone "$program"
		start_restored "$(value epoch)"
		sleep 0.1$number
	done
	await 60 [ -e ended ]
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "the daemon ended with $status"
	seq 500 | cmp -s - lines || fail "$(wc -l <lines) lines, not all in their order"
	[ "$(value state)" = ended ] || fail "the store does not say that the daemon has ended"
}

test_daemon()
{
	become_daemon daemon
}

test_daemon_fork()
{
	become_daemon once
}

test_daemon_fork_twice()
{
	become_daemon twice
}

test_daemon_late()
{
	become_daemon late
}

test_daemon_exec()
{
	become_daemon exec
}

# Whatever environment it gives itself.
test_daemon_exec_clean()
{
	become_daemon clean
}

# Also while the protection is about to pass to it: nothing that stops threads then ends the program that comes.
test_daemon_exec_race()
{
	for number in $(seq 60); do
		rm -rf "$store" lines ended
		"$respct" run --store "$store" -- "$helpers/daemonize" race 3 >output 2>errors </dev/null ||
			fail "round $number: the first process ended with $?"
		await 30 [ -e ended ]
	done
}

# A daemon in the making leaves the store alone when the protected process was killed.
test_daemon_killed_before()
{
	"$respct" run --store "$store" -- sh -c '"$0" once 300 & exec "$1"' "$helpers/daemonize" "$helpers/waiter" \
		>output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 0
	await 30 [ -e lines ]
	find_program
	[ "$program" = "$child" ] || fail "process $program is protected instead of $child"
	kill_program
	await 60 [ -e ended ]
	start_restored "$(value epoch)"
	finish 0
}

# A program that becomes another one is still protected, as the new one.
test_exec()
{
	become_waiter sh -c 'exec "$0" 8' "$helpers/waiter"
	finish 8
}

# Whatever environment it is given.
test_exec_environment()
{
	become_waiter env -i LD_PRELOAD=libm.so.6 env -i A=1 "$helpers/waiter" 8
	grep -aqz 'A=1' "/proc/$program/environ" || fail "the environment of the new program has been lost"
	finish 8
}

# In the same store, also where its path and that of the library were relative.
test_exec_in_another_directory()
{
	mkdir elsewhere library
	cp "$build/librespct.so" library
	LD_PRELOAD=library/librespct.so RESPCT_STORE=store sh -c 'cd elsewhere && exec "$0" 8' "$helpers/waiter" \
		>output 2>errors </dev/null &
	child=$!
	await 30 grep -q waiting output
	await 30 epoch_above "$(($(value epoch) + 2))"
	[ ! -e elsewhere/store ] || fail 'there is a second store'
	kill_program
	: >elsewhere/go
	timeout 60 "$restore" "$store" >out 2>err </dev/null
	status=$?
	[ $status -eq 8 ] || fail "restored, it ended with $status: $(cat err)"
}

# goes_on_unprotected WORDS COMMAND...: a program that cannot be protected is executed by one that is; it says so, and
# goes on. No checkpoint comes in between, which would have a word of its own about what COMMAND does to the store.
goes_on_unprotected()
{
	words=$1
	shift
	rm -rf "$store" output errors
	: >go
	chmod 711 . # for another user to see the file
	timeout 60 "$respct" run --quiet --interval 3600000 --store "$store" -- "$@" >output 2>errors </dev/null
	status=$?
	[ $status -eq 9 ] || fail "$words: it ended with $status: $(cat errors)"
	[ "$(wc -l <errors)" -eq 1 ] && grep -q -e "$words.*running unprotected" errors || fail "$words: it said: $(cat errors)"
}

# However far the start had come: nothing of ours is left that would handle the program's crash.
test_exec_unprotected_without_handlers()
{
	last=no
	for count in $(seq 24); do
		"$respct" run --quiet --fresh --store "$store" -- \
			env "RESPCT_FAIL=memory.map:enomem:$count:0" cat /proc/self/status >output 2>errors </dev/null
		status=$?
		[ $status -eq 0 ] || fail "$count: it ended with $status"
		grep -q 'running unprotected from here on' errors || continue
		grep -q '^SigCgt:.*00000000$' output || fail "$count: $(grep SigCgt output), $(cat errors)"
		! grep -q 'the checkpoint thread' errors || last=yes
	done
	[ $last = yes ] || fail 'the last step of the start did not fail'
}

# Nor is anything that would go on beside it: the refusal takes long, as nobody reads it.
test_refused_at_the_last_step()
{
	last=no
	for count in $(seq 24); do
		RESPCT_FAIL="memory.map:enomem:$count" "$respct" run --store "$store" -- true 2>errors
		grep -q 'the checkpoint thread' errors || continue
		last=yes
		mkfifo pipe
		exec 9<>pipe
		head -c 65536 /dev/zero >&9
		RESPCT_INTERVAL_MS=1 RESPCT_FAIL="memory.map:enomem:$count" "$respct" run --store "$store" -- true 2>&9 &
		sleep 0.1
		head -c 65536 <&9 >/dev/null
		wait $!
		status=$?
		exec 9>&-
		rm pipe
		[ $status -eq 125 ] || fail "$count: it ended with $status"
	done
	[ $last = yes ] || fail 'the last step of the start did not fail'
}

test_exec_unprotected()
{
	goes_on_unprotected 'limit of 40 open files' sh -c 'ulimit -n 40; exec "$0" 9' "$helpers/waiter"
	goes_on_unprotected 'RESPCT_INTERVAL_MS=x' env RESPCT_INTERVAL_MS=x "$helpers/waiter" 9
	for point in store.map memory.map; do
		goes_on_unprotected 'out of memory' \
			env "RESPCT_FAIL=$point:enomem:1:0" "$helpers/waiter" 9
	done
	goes_on_unprotected 'log: not a regular file' sh -c 'rm "$RESPCT_STORE/log"; mkdir "$RESPCT_STORE/log"; exec "$0" 9' \
		"$helpers/waiter"
	[ "$(id -u)" -ne 0 ] || goes_on_unprotected . setpriv --reuid 65534 --regid 65534 --clear-groups "$helpers/waiter" 9
}

# become_waiter COMMAND...: it executes waiter, which comes back after a kill.
become_waiter()
{
	"$respct" run --store "$store" -- "$@" >output 2>errors </dev/null &
	child=$!
	await 30 grep -q waiting output
	await 30 epoch_above "$(($(value epoch) + 2))"
	kill_program
	start_restored "$(value epoch)"
	find_program
}

# libfaketime allocates when it is first asked for the time, or has a condition to initialise; the allocator needs both
# for its own start.
test_library_that_fakes_time()
{
	library=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
	[ -e "$library" ] || skip 'needs libfaketime'
	command -v perl >/dev/null || skip 'needs perl'
	become_waiter env "LD_PRELOAD=$library" 'FAKETIME=@2001-02-03 04:05:06' perl -e '
		$| = 1;
		print "waiting\n";
		select(undef, undef, undef, 0.01) until -e "go";
		print "done\n";
		exit((gmtime)[5])'
	finish 101 # years after 1900
}

# Its sleep() hands a copy of the time on: what is left of it after each checkpoint must reach the kernel all the same.
test_library_that_copies_timeouts()
{
	library=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
	[ -e "$library" ] || skip 'needs libfaketime'
	timeout 60 "$respct" run --interval 16 --store "$store" -- env "LD_PRELOAD=$library" FAKETIME=+0 sleep 1 \
		>out 2>err </dev/null || fail "the sleep ended with $?"
}

# ---- the terminal ----

# use_terminal RESTORE...: the terminal's own keys stop, continue and interrupt a program that is restored by the
# command, and it finds its modes.
use_terminal()
{
	"$helpers/on_terminal" 30 =ready,=ready,26,=stopped,=continued,=status \
		"$respct" run --store "$store" -- "$helpers/terminal_user" >output 2>errors </dev/null &
	child=$!
	await 30 grep -q continued output
	await 30 epoch_above "$(($(value epoch) + 2))"
	kill_program
	"$helpers/on_terminal" 31 "=resized,=ready,26,=stopped,=continued,26,=stopped,=continued,24,=modes kept,=group kept,=status 3" \
		"$@" "$store" >out 2>err </dev/null || fail "restored: $(tail -n 3 out)"
	[ "$(value exit_status)" = 3 ] || fail "the store says $(value exit_status)"
}

test_terminal()
{
	use_terminal "$restore"
}

# What continues respct-restore continues the program once: a second time would undo the stop that comes next.
test_terminal_continued_once()
{
	preload="env LD_PRELOAD=$helpers/late_continue"
	$preload "$restore" --version >out 2>&1 || skip "nothing can be put before the tool: $(tail -n 1 out)"
	# shellcheck disable=SC2086 # words
	use_terminal $preload "$restore"
}

# A daemon leads a session again, and signals reach it through respct-restore.
test_session_leader()
{
	rm -f go
	setsid "$respct" run --store "$store" -- "$helpers/waiter" 4 >output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 0
	find_program
	[ "$(ps -o sid= -p "$program" | tr -d ' ')" = "$program" ] || skip "setsid(1) does not make it a session leader"
	kill_program
	start_restored "$(value epoch)"
	find_program
	[ "$(ps -o sid= -p "$program" | tr -d ' ')" = "$program" ] || fail "it no longer leads its session"
	finish 4
}

# ---- ways to end ----

# ends HOW: as without respct, and the store says so.
ends()
{
	: >go
	"$helpers/ender" "$1" >out
	expected=$?
	rm -rf "$store"
	start "$helpers/ender" "$1"
	: >go
	wait "$child"
	status=$?
	[ $status -eq $expected ] || fail "$1: exit status $status instead of $expected"
	cmp -s out output || fail "$1: the output is $(cat output) instead of $(cat out)"
	[ "$(value state)" = ended ] && [ "$(value exit_status)" = "$expected" ] ||
		fail "$1: the store says $(value state), $(value exit_status)"
	[ ! -e "$store/pid" ] || fail "$1: the pid file is still there"
	refused 125 "ended by itself with status $expected: nothing to restore" "$restore" "$store"
}

test_ways_to_end()
{
	for how in return exit _exit _Exit quick_exit exit_group raw-exit thread-exit thread-last thread-last-raw; do
		ends "$how"
	done
	RESPCT_INTERVAL_MS=3600000 "$respct" run --fresh --store "$store" -- "$helpers/ender" raw-exit >output 2>errors
	status=$?
	[ $status -eq 7 ] || fail "with rare checkpoints: exit status $status instead of 7"
	[ "$(value exit_status)" = 7 ] || fail "with rare checkpoints: the store says $(value exit_status)"
}

# The same in a restored process.
test_ways_to_end_restored()
{
	for how in return quick_exit exit_group raw-exit thread-exit; do
		: >go
		"$helpers/ender" "$how" >out
		expected=$?
		rm -rf "$store"
		start "$helpers/ender" "$how"
		kill_program
		start_restored "$(value epoch)"
		: >go
		wait "$child"
		status=$?
		[ $status -eq $expected ] || fail "$how: exit status $status instead of $expected"
		[ "$(value state)" = ended ] || fail "$how: the store says $(value state)"
	done
}

test_ended_in_list()
{
	RESPCT_QUIET=1 "$respct" run -- sh -c 'echo $RESPCT_STORE; exit 6' >default 2>err || true
	default=$(cat default)
	[ -d "$default" ] || fail "no store at \"$default\""
	"$respct" ls >out
	rm -rf "$default"
	grep -q "^ended, 6 .*$default" out || fail "ls says: $(grep "$default" out)"
}

# Names with an end of line and an escape sequence in them are names all the same, and are not sent to a terminal.
test_names_with_control_characters()
{
	odd=$(printf 'a\nb\033[31mc')
	mkdir "$odd"
	store=$work/$odd/store
	cp "$helpers/waiter" "$odd/waiter"
	start "$work/$odd/waiter" 3
	"$respct" inspect "$store" >out || fail 'inspect'
	grep -q 'a?b?\[31mc/waiter' out || fail "inspect does not show the name: $(grep program out)"
	! tr -d '\n' <out | grep -q '[[:cntrl:]]' || fail 'control characters in what inspect says'
	refused 125 'a?b?\[31mc' "$restore" "$store"
	[ "$(wc -l <errors)" -eq 1 ] && grep -q 'a?b?\[31mc' errors || fail "$(wc -l <errors) lines: $(cat errors)"
	kill_program
	: >go
	"$restore" "$store" >out 2>err </dev/null
	status=$?
	[ $status -eq 3 ] || fail "restored, it ended with $status: $(cat err)"
}

# ---- crashes of its own ----

# crash HOW: crasher under respct until its first checkpoint, then it crashes; sets $status.
crash()
{
	rm -rf "$store"
	start "$helpers/crasher" "$1"
	: >go
	wait "$child" 2>/dev/null
	status=$?
	"$respct" inspect "$store" >record 2>err || fail "$1: inspect: exit status $?"
}

# The record of the last crash() must say WORDS.
recorded()
{
	grep -q -e "$2" record || fail "$1: the record does not say \"$2\": $(grep -A 12 '^crash' record)"
}

# died HOW WORDS...: with the same status as without respct, leaving a record with these words.
died()
{
	how=$1
	shift
	: >go
	"$helpers/crasher" "$how" >out 2>err
	expected=$?
	crash "$how"
	[ $status -eq $expected ] || fail "$how: exit status $status instead of $expected"
	for words in "$@"; do
		recorded "$how" "$words"
	done
}

test_crash_record()
{
	died thread '^crash SIGSEGV at 0x10 (address not mapped) in thread [0-9]* "walker"' 'rip  *0x0' \
		'#0 .* in .*crasher+0x'
	"$respct" stat "$store" | grep -q '^died_of: SIGSEGV at 0x10' || fail "stat does not know of the crash"
	[ $status -eq 139 ] || fail "exit status $status instead of 139"
	grep -q 'built without libdw' record || {
		recorded thread '#0 .* stumble+0x.*crasher.c:'
		recorded thread '#1 .* walk+0x.*crasher.c:'
		recorded thread '#5 .* run_walker+0x'
	}
	[ "$(head -c 4 "$store/crash" | od -An -c | tr -d ' ')" = '177ELF' ] || fail "the record is no ELF file"
}

test_crash_ways()
{
	died abort '^crash SIGABRT raised by itself'
	died divide '^crash SIGFPE at 0x.*divided by zero'
	died trap '^crash SIGILL at 0x'
	died breakpoint '^crash SIGTRAP'
	died bus '^crash SIGBUS at 0x'
	died call '^crash SIGSEGV at 0x0 ' '#0 .*0x0*$'
	died 31 '^crash SIGSYS raised by itself'
	died all '^crash SIGSEGV at 0x10'
	died overflow-default '^crash SIGSEGV at 0x' '#9 .*crasher+0x'
	died malloc '^crash SIG'
	! grep -qw fsgsbase /proc/cpuinfo || died storage '^crash SIGSEGV at 0x10'
	grep -q 'built without libdw' record || died call 'main+0x'
}

# Many at a time, and while checkpoints are taken all the time.
test_crash_again_and_again()
{
	RESPCT_INTERVAL_MS=1
	export RESPCT_INTERVAL_MS
	for number in 1 2 3 4 5 6 7 8 9 10; do
		crash all
		[ $status -eq 139 ] || fail "exit status $status instead of 139"
		recorded all '^crash SIGSEGV at 0x10'
		crash thread
		[ $status -eq 139 ] || fail "exit status $status instead of 139"
		recorded thread '^crash SIGSEGV at 0x10'
	done
}

test_crash_by_others()
{
	start "$helpers/crasher" wait
	find_program
	kill -SEGV "$program"
	wait "$child" 2>/dev/null
	status=$?
	[ $status -eq 139 ] || fail "exit status $status instead of 139"
	"$respct" stat "$store" | grep -q "^died_of: SIGSEGV sent by process $$, user $(id -u)" ||
		fail "stat does not say who sent it: $("$respct" stat "$store" | grep died)"
}

test_crash_handled()
{
	died overflow
	[ $status -eq 5 ] || fail "exit status $status instead of 5"
	! grep -q '^crash' record || fail "a crash that was handled is recorded"
	grep -q overflow output || fail "the output is: $(cat output)"
	died handler '^crash SIGSEGV at 0x10'
	grep -q handled output || fail "the output is: $(cat output)"
	died child
	[ "$(cat output)" = "$(printf 'waiting\nchild: signal 11')" ] || fail "the output is: $(cat output)"
	! grep -q '^crash' record || fail "the crash of a child is recorded"
}

test_crash_handlers_hidden()
{
	start "$helpers/crasher" check
	kill_program
	start_restored "$(value epoch)"
	: >go
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "exit status $status: $(cat output)"
}

test_crash_restored()
{
	crash until-fixed
	[ $status -eq 139 ] || fail "exit status $status instead of 139"
	: >fixed
	"$restore" "$store" >out 2>err </dev/null
	status=$?
	[ $status -eq 3 ] || fail "after the restore the program ended with $status"
	[ "$(cat output)" = "$(printf 'waiting\ndone')" ] || fail "the output is: $(cat output)"
	[ "$(wc -l <err)" -eq 1 ] && grep -q 'last died of SIGSEGV at 0x10' err || fail "respct-restore says: $(cat err)"
}

# A restored process is watched, too; what is said of an earlier life is said to be.
test_crash_after_restore()
{
	crash until-fixed
	rm go
	start_restored "$(value epoch)"
	"$respct" inspect "$store" | grep -q '^crash of an earlier life SIGSEGV' || fail "the first crash is not kept"
	kill_program
	"$restore" "$store" >out 2>err </dev/null &
	child=$!
	await 30 epoch_above "$(value epoch)"
	! grep -q 'died of' err || fail "respct-restore says: $(cat err)"
	: >go
	wait "$child" 2>/dev/null
	status=$?
	[ $status -eq 139 ] || fail "exit status $status instead of 139"
	"$respct" inspect "$store" | grep -q '^crash SIGSEGV at 0x10' || fail "the second crash is not recorded"
}

test_crash_record_damaged()
{
	crash thread
	cp "$store/crash" whole
	size=$(stat -c %s whole)
	random_state=1
	number=0
	while [ $number -lt 150 ]; do
		number=$((number + 1))
		cp whole "$store/crash"
		offset=$((number <= 100 ? number * 4 : $(random_below "$size")))
		random_below "$size" >/dev/null
		flip "$store/crash" $offset
		"$respct" inspect "$store" >out 2>err || fail "inspect of a record damaged at $offset: $(cat err)"
	done
	for length in 4 63 64 65 175 176 177 300 1000 $((size - 1)); do
		head -c $length whole >"$store/crash"
		"$respct" inspect "$store" >out 2>err || fail "inspect of a record cut to $length: $(cat err)"
	done
}

test_default_store()
{
	start_default=$(mktemp out-XXXXXX)
	"$respct" run -- sh -c 'kill -9 $$' 2>"$start_default"
	line=$(cat "$start_default")
	default=$(printf '%s\n' "$line" | sed -n 's/.*checkpoints go to \([^ ]*\).*/\1/p')
	[ -d "$default" ] || fail "the message does not name a store: $line"
	"$respct" ls >out 2>err || fail "ls: exit status $?"
	grep -q "$(basename "$default")" out || fail "ls does not list $default"
	rm -rf "$default"
}

test_looking_at_stores()
{
	make_crashed_store
	"$respct" stat "$store" >out 2>err || fail "stat: exit status $?"
	for key in state epoch commit_time_ns pages bytes checkpoints; do
		grep -q "^$key: " out || fail "stat has no $key"
	done
	[ "$(value state)" = running ] || fail "the state is $(value state)"
	"$respct" inspect "$store" >out 2>err || fail "inspect: exit status $?"
	[ -s out ] && [ ! -s err ] || fail "inspect says nothing"
	"$respct" check >out 2>err || fail "check: exit status $?"
	[ -s out ] || fail "check says nothing"
}

# For `sh -c`: executes its arguments where process numbers may not be chosen and namespaces not be made.
restricted='echo 0 >/proc/sys/user/max_user_namespaces &&
	exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all "$@"'

# `respct check` and the restore say what to change; after that it works.
test_namespaces_restricted()
{
	set -- unshare --user --map-current-user --keep-caps sh -c "$restricted" sh
	"$@" true 2>err || skip "no namespace can be restricted here: $(head -n 1 err)"
	make_crashed_store
	"$@" "$respct" check >out 2>err && fail 'check: exit status 0'
	grep -q '^restore: impossible here: allow user namespaces (kernel.unprivileged_userns_clone' out ||
		fail 'check does not say what to change'
	refused 125 'not permitted either (.*): allow user namespaces (kernel.unprivileged_userns_clone' "$@" "$restore" "$store"
	start_restored "$(value epoch)"
	finish 0
}

# A checkpoint is committed when the program has long ended its start, and commit_time_ns is its time.
test_commit_time()
{
	start "$helpers/waiter"
	committed=$(value commit_time_ns)
	age=$((($(date +%s%N) - committed) / 1000000))
	[ "$age" -ge 0 ] && [ "$age" -lt 5000 ] || fail "the last checkpoint is $age ms old"
	finish 0
}

# A program that began in a time namespace hours ahead is restored as after a restart of the machine.
test_clock_after_reboot()
{
	ahead='unshare --user --map-current-user --time --monotonic 36000 --boottime 72000 --fork'
	$ahead true 2>err || skip "no time namespace: $(cat err)"
	VICTIM_IS_AHEAD=1 $ahead "$respct" run --store "$store" -- "$build/tests/victims/clock_after_reboot" \
		>output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 2
	kill -9 "$(cat "$store/pid")"
	wait $child
	timeout 60 "$restore" "$store" >output 2>err </dev/null || fail "exit status $? after the restore"
	grep -q '^clock_after_reboot: ' output || fail "no result"
	[ ! -s err ] || fail "a message"
}

# A thread that was stopped for the first checkpoint just before it renames something has not done so when it is restored.
test_name_changed_at_the_first_checkpoint()
{
	long=$(printf '%01800d' 0 | sed 's|0|./|g')
	for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		: >file
		rm -rf go other link "$store"
		ln file link # more to look up before it is renamed
		RESPCT_INTERVAL_MS=20 RESPCT_FAIL=commit.done:kill:1 \
			"$respct" run --store "$store" -- "$helpers/renamer" "${long}file" >output 2>errors </dev/null
		[ $? -eq 137 ] || fail "it was not killed at its first checkpoint"
		start_restored 1
		: >go
		wait "$child" || fail "round $round: the program ended with $?"
	done
}

# Memory that others have mapped is theirs, too: a restore leaves it as it is, and says so. early: what the program had
# mapped at the checkpoint; late: since.
leaves_to_others()
{
	[ "$(stat -f -c %T .)" = tmpfs ] || skip 'no file system in memory to work in'
	head -c 4096 /dev/zero >memory
	RESPCT_INTERVAL_MS=3000 start "$helpers/memory_user" "$1" memory
	await 30 epoch_above 0
	epoch=$(value epoch)
	: >go
	await 30 [ -e written ]
	kill_program
	[ "$(value epoch)" -eq "$epoch" ] || skip 'too busy: another checkpoint was taken'
	rm -f go
	if [ "$2" = held ]; then
		"$helpers/memory_user" hold memory >held &
		holder=$!
		await 30 [ -s held ]
	fi
	start_restored "$epoch"
	content=$(tr -d '\0' <memory)
	if [ "$2" = held ]; then
		[ "$content" = after ] || fail "$1: it was changed under the eyes of another: $content"
		grep -q 'memory is mapped by others' restored-errors || fail "$1: it does not say so"
	else
		[ -z "$content" ] || fail "$1: it has $content instead of what it had at the checkpoint"
		[ ! -s restored-errors ] || fail "$1: a message"
	fi
	: >go
	: >end
	wait "$child" || fail "$1: the program ended with $?"
}

test_memory_of_others()
{
	for when in early late; do
		for how in alone held; do
			leaves_to_others $when $how
			[ $how = alone ] || kill $holder
			rm -rf "$store" go end written held
		done
	done
}

# Of message queues nothing is rolled back. One that is gone is made again, without its messages.
test_message_queue()
{
	queue=/respct-test-$$
	for how in there gone; do
		rm -rf "$store" go output
		RESPCT_INTERVAL_MS=20 start "$helpers/queue_user" $queue
		await 30 grep -q waiting output
		await 30 epoch_above "$(value epoch)"
		kill_program
		epoch=$(value epoch)
		[ $how = there ] || "$helpers/queue_user" $queue remove || fail 'it cannot be removed'
		start_restored "$epoch"
		: >go
		wait "$child"
		status=$?
		grep -q 'mq_notify is not asked for again' restored-errors || fail "$how: no word about mq_notify"
		case $how in
		there) [ $status -eq 3 ] || fail "$status messages instead of 3" ;;
		gone)
			[ $status -eq 1 ] || fail "$status messages instead of 1"
			grep -q "$queue is gone, and what was in it (2 messages)" restored-errors || fail 'it does not say so'
			;;
		esac
	done
}

# A restore that is killed between the two may leave the name of a queue that has none.
test_message_queue_without_name()
{
	queue=/respct-test-$$
	RESPCT_INTERVAL_MS=20 start "$helpers/queue_user" $queue
	await 30 grep -q waiting output
	"$helpers/queue_user" $queue remove || fail 'it cannot be removed'
	await 30 epoch_above "$(($(value epoch) + 1))"
	kill_program
	left=/respct-restore-$program-3-0 # 3 is its descriptor
	"$helpers/queue_user" "$left" leave || fail 'no queue can be made'
	start_restored "$(value epoch)"
	! "$helpers/queue_user" "$left" remove || fail 'the old name is still there'
	: >go
	wait "$child"
	status=$?
	[ $status -eq 1 ] || fail "$status messages instead of 1: $(cat restored-errors)"
}

# is_segment ID: there is one of this identifier, outside of any namespace, and not marked to be removed.
is_segment()
{
	awk -v id="$1" '$2 == id && $3 < 1000 { found = 1 } END { exit !found }' /proc/sysvipc/shm
}

is_no_segment()
{
	! is_segment "$1"
}

# make_crashed_segments all|some [ID]: a store of segment_user; the identifier of its segment in $segment.
make_crashed_segments()
{
	rm -rf "$store" go output
	start "$helpers/segment_user" "$@"
	await 30 [ -s output ]
	await 30 epoch_above "$(value epoch)"
	kill_program
	read -r segment <output
	is_segment "$segment" || fail "$1: segment $segment has not outlived the program"
}

has_own_segments()
{
	find_program
	[ "$(readlink "/proc/$program/ns/ipc")" != "$(readlink /proc/self/ns/ipc)" ]
}

ends_with_segments()
{
	: >go
	wait "$child"
	status=$?
	[ $status -eq 0 ] || fail "$1: the program ended with $status"
}

# The segment that has outlived the program is its own again, or another in a namespace of its own: then the old one is
# removed, once the program runs and no sooner.
test_segments()
{
	for which in all some; do
		make_crashed_segments $which
		RESPCT_FAIL=resume.done:eio refused 125 'cannot rebuild' "$restore" "$store"
		is_segment "$segment" || fail "$which: a restore that failed has removed segment $segment"
		for life in 2 3; do
			start_restored "$(value epoch)"
			! has_own_segments || await 10 is_no_segment "$segment"
			[ $life -eq 3 ] || kill_program
		done
		ends_with_segments $which
		is_no_segment "$segment" || fail "$which: segment $segment is left"
		[ ! -s restored-errors ] || fail "$which: a message"
	done
}

# What others have made, or use, is not the program's to remove.
test_segments_of_others()
{
	[ "$(id -u)" -ne 0 ] || skip 'root needs no namespace for segments'
	other=$(ipcmk -M 20000 -p 600 | sed 's/.*: //')
	make_crashed_segments some "$other"
	"$helpers/segment_user" hold "$segment" >held &
	holder=$!
	await 30 [ -s held ]
	start_restored "$(value epoch)"
	has_own_segments || fail 'it has no namespace'
	ends_with_segments 'of others'
	is_segment "$segment" || fail "segment $segment, which another uses, was removed"
	is_segment "$other" || fail "segment $other, which another has made, was removed"
	kill $holder
	ipcrm -m "$segment" -m "$other" || fail 'the segments cannot be removed'
}

# restore_elsewhere: the restore, in a pid namespace where nobody knows the number of who has made a segment.
restore_elsewhere()
{
	unshare --pid --fork --kill-child --mount-proc "$restore" "$store" >restored-output 2>restored-errors </dev/null &
	child=$!
	await 30 epoch_above "$1"
}

# kill_elsewhere ID: returns when nobody is attached to this segment any more.
kill_elsewhere()
{
	kill -9 "$child"
	wait "$child" 2>/dev/null
	await 30 awk -v id="$1" '$2 == id && $7 > 0 { exit 1 }' /proc/sysvipc/shm
}

# There, one that has the identifier, the size and the key of the program's, and is younger than the checkpoint, is
# somebody else's.
test_segments_of_another_age()
{
	[ "$(id -u)" -eq 0 ] || skip 'needs root to choose identifiers'
	command -v perl >/dev/null || skip 'needs perl'
	unshare --pid --fork --mount-proc true 2>/dev/null || skip 'no pid namespace is permitted'
	make_crashed_segments all
	restore_elsewhere "$(value epoch)"
	[ ! -s restored-errors ] || fail 'a message about its own segment'
	kill_elsewhere "$segment"
	key=$(awk -v id="$segment" '$2 == id { print $1 }' /proc/sysvipc/shm)
	ipcrm -m "$segment"
	sleep 1.1 # the age is known in seconds
	{ echo "$segment" >/proc/sys/kernel/shm_next_id; } 2>/dev/null || skip 'identifiers may not be chosen here'
	other=$(perl -e 'my $id = shmget($ARGV[0], 20000, 01600) // die; shmwrite($id, "stranger", 0, 8) or die; print $id' "$key") ||
		fail 'no segment can be made'
	[ "$other" = "$segment" ] || skip 'too busy: another has taken the identifier'
	restore_elsewhere "$(value epoch)"
	content=$(perl -e 'shmread($ARGV[0], my $text, 0, 8) or die; print $text' "$other")
	ipcrm -m "$other"
	[ "$content" = stranger ] || fail "the segment of somebody else has \"$content\" now"
	grep -q "System V segment $segment is [0-9]* now" restored-errors || fail 'no word about the other segment'
	own=$(sed -n 's/.* is \([0-9]*\) now.*/\1/p' restored-errors)
	kill_elsewhere "$own"
	ipcrm -m "$own"
}

# The path of what is removed may lead through it.
test_removed_by_way_of_itself()
{
	RESPCT_INTERVAL_MS=3000 start "$helpers/directory_remover"
	await 30 [ -d below ]
	epoch=$(value epoch)
	await 30 epoch_above "$epoch"
	epoch=$(value epoch)
	: >go
	await 30 [ -e removed ]
	kill_program
	[ "$(value epoch)" -eq "$epoch" ] || skip 'too busy: another checkpoint was taken'
	[ ! -e below ] || fail 'it is not removed'
	rm go
	start_restored "$epoch"
	[ -d below ] && [ ! -e removed ] || fail "not as at the checkpoint: $(ls), stderr: $(cat restored-errors)"
	[ ! -s restored-errors ] || fail "stderr: $(cat restored-errors)"
	: >go
	: >end
	wait "$child" || fail "the program ended with $?"
}

# held_by_child TAKE USE: a program takes something, and forks; its child lets go some time after the program is killed.
# The restore waits for that, and the program uses what it has.
held_by_child()
{
	start python3 -c "import fcntl, os, socket, time
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
$1
if os.fork() == 0:
    wait_for('leave')
    os._exit(0)
open('ready', 'w').close()
wait_for('go')
$2"
	await 30 [ -e ready ]
	epoch=$(value epoch)
	await 30 epoch_above "$epoch"
	kill_program
	(sleep 0.3 && : >leave) &
	start_restored "$(value epoch)"
	: >go
	wait "$child" || fail "the program ended with $?: $(cat restored-errors)"
	[ "$(wc -l <restored-errors)" -eq 1 ] || fail "it said: $(cat restored-errors)"
}

test_port_held_by_child()
{
	held_by_child 'server = socket.create_server(("127.0.0.1", 0))' 'socket.create_connection(server.getsockname())
server.accept()'
}

test_socket_held_by_child()
{
	held_by_child 'server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen()' 'client = socket.socket(socket.AF_UNIX)
client.connect("socket")
server.accept()'
}

test_lock_held_by_child()
{
	held_by_child 'file = open("locked", "w")
fcntl.flock(file, fcntl.LOCK_EX)' 'try:
    fcntl.flock(open("locked"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    os._exit(0)
os._exit(1)'
}

# Sets $stopped to a process of ours that is.
find_stopped()
{
	for process in /proc/[0-9]*; do
		stopped=${process#/proc/}
		is_ours "$stopped" && grep -q '^State:.T' "$process/status" 2>/dev/null && return
	done
	return 1
}

# Two programs in one directory, restored at the same time, each with a file that it has removed.
test_restored_side_by_side()
{
	for name in one other; do
		store=$work/store-$name
		rm -f go
		RESPCT_INTERVAL_MS=3000 start python3 -c 'import os, sys, time
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
with open(sys.argv[1], "w") as file:
    file.write(sys.argv[1])
wait_for("go")
os.remove(sys.argv[1])
wait_for("end")' "$name"
		await 30 [ -s "$name" ]
		epoch=$(value epoch)
		await 30 epoch_above "$epoch"
		epoch=$(value epoch)
		: >go
		await 30 [ ! -e "$name" ]
		kill_program
		[ "$(value epoch)" -eq "$epoch" ] || skip 'too busy: another checkpoint was taken'
	done
	rm go
	store=$work/store-one
	RESPCT_FAIL=restore.remade:stop "$restore" "$store" >one-output 2>one-errors </dev/null &
	first=$!
	await 30 find_stopped
	store=$work/store-other
	start_restored "$(value epoch)"
	kill -CONT "$stopped"
	store=$work/store-one
	await 30 epoch_above "$(value epoch)"
	[ "$(cat one other)" = oneother ] || fail "the files: $(cat one other)"
	[ "$(find . -name '.respct*')" = '' ] || fail "left over: $(find . -name '.respct*')"
	: >go
	: >end
	wait "$child" && wait "$first" || fail "a program ended with $?: $(cat one-errors restored-errors)"
}

# A processor that lacks what the program may use is refused by the feature's name.
test_lesser_processor()
{
	make_crashed_store
	RESPCT_TEST_PROCESSOR_WITHOUT=popcnt refused 125 'lacks popcnt' "$restore" "$store"
	"$respct" inspect "$store" | grep -q '^processor .*popcnt' || fail "inspect does not show the processor"
}

# Two names of one file that were given before the first checkpoint are those of one file after a restore, too.
test_links_made_early()
{
	mkdir folder
	RESPCT_INTERVAL_MS=3000 start "$helpers/linker"
	epoch=$(value epoch)
	: >go
	await 30 [ -e gone ]
	kill_program
	[ "$(value epoch)" -eq "$epoch" ] || skip 'too busy: another checkpoint was taken'
	rm go
	start_restored "$epoch"
	[ ! -e gone ] || fail 'what was made since is there'
	[ "$(stat -c %h first)" -eq 2 ] && [ "$(stat -c %i first)" = "$(stat -c %i folder/second)" ] || fail 'they are two files'
	[ ! -s restored-errors ] || fail "it said: $(cat restored-errors)"
	: >end
	: >go
	wait "$child" || fail "the program ended with $?"
	[ ! -e first ] && [ "$(stat -c %h folder/second)" -eq 1 ] || fail 'the program has not gone on'
}

# A reservation of 1 TiB with a few pages in it takes no room in the store.
test_sparse_store()
{
	start "$build/tests/victims/sparse_huge" 300
	await 30 epoch_above 4
	[ "$(value pages)" -lt 4000 ] || fail "$(value pages) pages in the store"
	size=$(du -sk "$store" | cut -f 1)
	[ "$size" -lt 65536 ] || fail "the store takes $size KiB"
	kill -9 $child
	wait $child
}

# What a program has put in the place of its stderr is its own.
test_stderr_reused()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to change the root directory"
	command -v perl >/dev/null || skip "needs perl"
	"$respct" run --store "$store" -- perl -e '
		close STDERR; open F, ">", "data" or die; fileno(F) == 2 or die;
		select undef, undef, undef, 0.01 until -e "change";
		chroot "/usr" or die; sleep 1; print F "mine\n"; close F or die' >out 2>err </dev/null &
	child=$!
	await 30 epoch_above 1
	: >change
	wait $child || fail "it ended with $?"
	[ "$(cat data)" = mine ] || fail "in its file is: $(cat data)"
}

# In another root the files of the program have other names: the checkpoint before it stays.
test_changed_root()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to change the root directory"
	command -v perl >/dev/null || skip "needs perl"
	"$respct" run --store "$store" -- perl -e '
		select undef, undef, undef, 0.01 until -e "change";
		unless (-e "once") { chroot "/usr" or die; sleep 600; }' >out 2>err </dev/null &
	child=$!
	await 30 epoch_above 1
	: >change
	await 30 grep -q 'changed its root directory' err
	epoch=$(value epoch)
	sleep 0.3
	[ "$(value epoch)" -eq "$epoch" ] || fail "there is a checkpoint of what cannot be restored"
	kill_program
	: >once
	timeout 60 "$restore" "$store" 2>restored-errors
	status=$?
	[ $status -eq 0 ] || fail "restored from before, it ended with $status"
}

# The same at any moment of a checkpoint: what is captured after the change is never committed.
test_changed_root_at_any_moment()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root to change the root directory"
	command -v perl >/dev/null || skip "needs perl"
	for attempt in $(seq 40); do
		"$respct" run --fresh --interval 1 --store "$store" -- perl -e '
			select undef, undef, undef, 0.02 + rand 0.01;
			chroot "/usr" or die;
			select undef, undef, undef, 0.02;
			kill 9, $$' >out 2>err </dev/null
		"$respct" inspect "$store" >state 2>&1 || fail "attempt $attempt: $(cat state)"
		! grep unreachable state || fail "attempt $attempt: there is a checkpoint of what cannot be restored"
	done
}

# A limit of open files that leaves the runtime no room is said in one line; the least that does not is enough.
test_descriptor_limit()
{
	# shellcheck disable=SC3045 # every sh of Debian knows it
	(ulimit -n 63 && exec "$respct" run --store "$store" -- "$helpers/waiter") >output 2>errors </dev/null
	status=$?
	[ $status -eq 125 ] || fail "exit status $status with room for 63 descriptors"
	[ "$(wc -l <errors)" -eq 1 ] && grep -q 'limit of 63 open files' errors || fail "stderr: $(cat errors)"
	start sh -c 'ulimit -n 64 && exec "$0" 5' "$helpers/waiter"
	await 30 grep -q waiting output
	await 30 epoch_above "$(($(value epoch) + 2))"
	! grep -q unprotected errors || fail "stderr: $(cat errors)"
	kill_program
	start_restored "$(value epoch)"
	finish 5
}

# A limit that leaves no room is named.
test_memory_limit()
{
	prlimit --as=61440000 "$respct" --version >/dev/null 2>&1 ||
		skip 'the command itself needs more memory, as it does with a sanitizer'
	refused 125 'ulimit -v' prlimit --as=61440000 "$respct" run --store "$store" -- true
}

# Each back end of tracking by its name; a restore takes what works then, whatever was used before.
test_tracking()
{
	refused 125 'not wp_async, soft_dirty or compare' env RESPCT_TRACK=magic "$respct" run --store "$store" -- true
	best=$("$respct" check | sed -n 's/^tracking: \([a-z_]*\): .*/\1/p')
	for kind in wp_async soft_dirty compare; do
		RESPCT_TRACK=$kind "$respct" check >output
		if grep -q "^tracking: $kind: " output; then
			continue
		fi
		[ $kind != compare ] || fail "comparing works everywhere: $(cat output)"
		refused 125 "RESPCT_TRACK=$kind: not available here" env RESPCT_TRACK=$kind "$respct" run --store "$store" -- true
	done
	rm -f go
	RESPCT_TRACK=compare "$respct" run --store "$store" -- "$helpers/waiter" 3 >output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 1
	[ "$(value tracking)" = compare ] || fail "tracking is said to be by $(value tracking)"
	kill_program
	refused 125 'not wp_async, soft_dirty or compare' env RESPCT_TRACK=magic "$restore" "$store"
	start_restored "$(value epoch)"
	await 30 test "$(value tracking)" = "$best"
	kill_program
	export RESPCT_TRACK=compare
	start_restored "$(value epoch)"
	finish 3
	"$respct" inspect "$store" >/dev/null || :
}

test_durability_power()
{
	rm -f go
	"$respct" run --durability power --store "$store" -- "$helpers/waiter" 6 >output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 0
	[ "$(value durability)" = power ] || fail "the durability is $(value durability)"
	kill_program
	start_restored "$(value epoch)"
	finish 6
}

# Nothing is acknowledged early: between the program's write and what it says after the checkpoint, its file,
# the log and the commit record have been made durable, in this order.
test_power_order()
{
	command -v strace >/dev/null || skip "there is no strace"
	strace -o /dev/null true 2>/dev/null || skip "no process may be traced here"
	strace -f -y -o trace -e trace=write,fdatasync,sync "$respct" run --durability power --interval 60000 \
		--store "$store" -- "$helpers/writer" "$work/data" >output 2>errors </dev/null || fail "writer fails"
	awk '
	/ fdatasync\([0-9]+<.*\/data>/ && step == 1 { step = 2 }
	/ fdatasync\([0-9]+<.*\/log>/ && step == 2 { step = 3 }
	/ fdatasync\([0-9]+<.*\/super>/ && step == 3 { step = 4 }
	/ write\([0-9]+<.*\/data>/ { step = 1 }
	/ write\(1.*acknowledged/ { if (step == 4) good++; else bad++; step = 0 }
	END { print good + 0, bad + 0 }' trace >counts
	[ "$(cat counts)" = "8 0" ] || fail "of 8 acknowledged checkpoints so many were durable, so many were not: $(cat counts)"
}

test_interval()
{
	"$respct" run --interval 10 --store "$store" -- "$helpers/waiter" >output 2>errors </dev/null &
	child=$!
	await 30 epoch_above 0
	first=$(value epoch)
	sleep 2
	rate=$((($(value epoch) - first) / 2))
	[ "$rate" -ge 20 ] || fail "$rate checkpoints a second at an interval of 10 ms"
	finish 0
}

# ---- crash: kills, restores, and judges ----

# judged STATUS [option...] -- PROGRAM...: `respct crash` must end with STATUS and leave nothing behind; its result is in out and
# err. Says TAP that is whole.
judged()
{
	wanted=$1
	shift
	rm -rf respct-crash-*
	TMPDIR=$work timeout 300 "$respct" crash --store "$store" "$@" >out 2>err </dev/null
	status=$?
	[ $status -eq "$wanted" ] || fail "exit status $status instead of $wanted: $(cat out)"
	[ ! -e "$store" ] || fail "the store is still there"
	left=$(find . -maxdepth 1 -name 'respct-crash-*')
	[ -z "$left" ] || [ $status -eq 1 ] || fail "$left is still there"
	for process in /proc/[0-9]*; do
		process=${process#/proc/}
		[ "$process" = $$ ] || ! is_ours "$process" || fail "process $process still runs: $(cat "/proc/$process/cmdline")"
	done
	[ "$(head -n 1 out)" = "TAP version 13" ] || fail "no TAP: $(cat out)"
	[ $status -eq 77 ] || grep -qx "1..$(grep -c -e '^ok' -e '^not ok' out)" out || fail "the plan is wrong: $(cat out)"
}

# The report is XML, with this many failures in it.
check_report()
{
	grep -q "failures=\"$1\"" report.xml || fail "the report: $(cat report.xml)"
	! command -v xmllint >/dev/null || xmllint --noout report.xml 2>xml-errors || fail "the report is not XML"
}

test_crash_survived()
{
	judged 0 --kills 5 --expect same-output --report report.xml -- "$helpers/worker" 200
	[ "$(grep -c '^ok .* kill [1-5] ' out)" -eq 5 ] || fail "not five kills: $(cat out)"
	grep -q '^ok .* end of run 1' out && ! grep -q '^not ok' out || fail "the result: $(cat out)"
	check_report 0
}

test_crash_all_modes()
{
	for mode in commit all; do
		judged 0 --kills 8 --mode $mode --interval 20 --verify --expect same-output -- "$helpers/worker" 200
		[ "$(grep -c '^ok .* kill [1-8] ' out)" -eq 8 ] || fail "$mode: not eight kills: $(cat out)"
	done
}

# What is not survived is said, with a seed that does the same again; the evidence is kept.
test_crash_not_survived()
{
	mkdir evidence
	judged 1 --kills 1 --report report.xml --keep evidence -- "$helpers/worker" 400 ends-when-restored
	grep -q '^not ok 1 - kill 1 ' out && grep -q 'exit status 3' err || fail "the result: $(cat out)"
	check_report 1
	evidence=$(echo evidence/worker-*)
	[ -s "$evidence/log" ] && [ -d "$evidence/store" ] || fail "the evidence: $(ls -R evidence)"
	seed=$(sed -n 's/.*seed \([0-9]*\).*/\1/p' err)
	judged 1 --kills 1 --seed "$seed" -- "$helpers/worker" 400 ends-when-restored
	grep -q "seed $seed," err && grep -q '^not ok 1 - kill 1 ' out || fail "the result: $(cat out)"
}

test_crash_other_output()
{
	judged 1 --kills 2 --expect same-output -- "$helpers/worker" 200 prints-when-restored
	grep -q 'output differs' err || fail "the message"
}

# An undisturbed result that was kept is the measure.
test_crash_kept_output()
{
	judged 0 --kills 1 --expect same-output=expected -- "$helpers/worker" 150
	[ "$(head -n 1 expected)" = 'step 0' ] || fail "what is kept: $(cat expected)"
	sed -i 's/step 149/step 150/' expected
	judged 1 --kills 1 --expect same-output=expected -- "$helpers/worker" 150
	grep -q 'output differs.* line 150' err || fail "the message"
}

test_crash_check()
{
	judged 0 --kills 3 --check 'kill -0 $RESPCT_PID && [ -d "$RESPCT_STORE" ] && echo $RESPCT_KILL >>checks' \
		-- "$helpers/worker" 400
	[ "$(tail -n 1 checks)" -eq 3 ] || fail "checked: $(cat checks)"
	judged 1 --kills 4 --check '[ $RESPCT_KILL -lt 3 ]' -- "$helpers/worker" 600
	grep -q 'the check failed' err || fail "the message"
	grep -q '^ok .* kill 2 ' out || grep -q '^not ok .* kill 2 ' out || fail "the result: $(cat out)"
	grep -q '^not ok .* kill [34] ' out || fail "the result: $(cat out)"
}

# A server is ended by a signal; what comes before is not an end it may have.
test_crash_server()
{
	judged 0 --kills 3 --end TERM --check true --client 'sleep 0.2' -- "$helpers/worker" 1 serves
	grep -q '^ok .* end of run 1: exit status 0$' out || fail "the result: $(cat out)"
	judged 1 --kills 3 --max-ms 100 --end TERM -- "$helpers/worker" 10
	grep -q 'ended by itself' err || fail "the message"
	judged 1 --kills 1 --end TERM --client 'exit 4' -- "$helpers/worker" 1 serves
	grep -q 'client failed: exit status 4' err || fail "the message"
}

test_crash_ends_badly()
{
	judged 1 --kills 1 --min-ms 10000 -- "$helpers/worker" 40 aborts
	grep -q 'killed by signal 6' err || fail "the message"
	judged 1 --kills 1 --expect same-output -- false
	grep -q 'undisturbed run failed' err || fail "the message"
	judged 77 --kills 1 --expect same-output --report report.xml -- sh -c 'exit 77'
	grep -q '^1..0 # SKIP' out && check_report 0
}

test_crash_too_soon()
{
	judged 1 --kills 2 -- true
	grep -q 'only 0 of 2 kills' err || fail "the message"
}

test_crash_hung()
{
	judged 1 --kills 2 --timeout 4 -- "$helpers/worker" 400 hangs-when-restored
	grep -q 'takes longer than 4 s' err || fail "the message"
	grep -q '  thread [0-9]* stat: ' respct-crash-*/log || fail "the log does not say where it hangs"
}

test_crash_scratch()
{
	: >here
	judged 0 --kills 2 --scratch --setup 'echo 300 >steps' --input here -- \
		sh -c 'cat; read steps <steps; [ ! -e here ]; exec "$0" "$steps"' "$helpers/worker"
	judged 1 --kills 2 --scratch --setup 'exit 5' -- true
	grep -q 'setup: exit status 5' err || fail "the message"
}

# Nothing is left when the command itself is ended.
test_crash_interrupted()
{
	TMPDIR=$work "$respct" crash --store "$store" --kills 1000 -- "$helpers/worker" 1 serves >out 2>err </dev/null &
	child=$!
	await 60 grep -q '^ok' out
	kill -TERM $child
	wait $child
	status=$?
	[ $status -eq 143 ] && grep -q 'interrupted; seed' err || fail "exit status $status"
	grep -q '^Bail out' out || fail "the result: $(cat out)"
	[ ! -e "$store" ] && [ -z "$(find . -maxdepth 1 -name 'respct-crash-*')" ] || fail "something is left"
	for process in /proc/[0-9]*; do
		process=${process#/proc/}
		[ "$process" = $$ ] || ! is_ours "$process" || fail "process $process still runs"
	done
}

# The job in demo/ci, with fewer kills: what its last step runs.
test_crash_ci_job()
{
	command -v xz >/dev/null && command -v redis-cli >/dev/null || skip "needs xz and redis-server"
	sed -n '/- name: crash$/,/- uses:/p' "$demo/ci/github.yml" |
		sed -n '/run: |/,/- uses:/p' | sed '1d; $d; s/--kills [0-9]*/--kills 2/; s/seq 1000000/seq 300000/' |
		sed "s/7379/$((10000 + $$ % 20000))/g" >script # another test may have the port
	[ "$(grep -c 'respct crash' script)" -eq 2 ] || fail "the job's script: $(cat script)"
	mkdir respct
	ln -s "$build" respct/build
	TMPDIR=$work timeout 300 sh -e script >out 2>err </dev/null || fail "the job: exit status $?: $(cat out)"
	[ "$(grep -c '^ok .* kill [12] ' out)" -eq 4 ] || fail "not four kills: $(cat out)"
	[ -s reports/xz.xml ] && [ -s reports/redis.xml ] || fail "no reports"
}

test_crash_wrong_options()
{
	refused 125 'which program' "$respct" crash
	refused 125 bogus "$respct" crash --bogus -- true
	refused 125 'not found' "$respct" crash no-such-program-here
	refused 125 'no such file' "$respct" crash ./missing
	refused 125 static "$respct" crash "$helpers/static_program"
	refused 125 kills "$respct" crash --kills 0 -- true
	refused 125 kills "$respct" crash --kills many -- true
	refused 125 seed "$respct" crash --seed x -- true
	refused 125 mode "$respct" crash --mode gently -- true
	refused 125 expect "$respct" crash --expect more -- true
	refused 125 interval "$respct" crash --interval 0 -- true
	refused 125 durability "$respct" crash --durability eternal -- true
	refused 125 max-ms "$respct" crash --min-ms 50 --max-ms 40 -- true
	refused 125 client "$respct" crash --end TERM --expect same-output -- true
	refused 125 report "$respct" crash --report missing/report -- true
	refused 125 keep "$respct" crash --keep missing/directory -- true
	refused 125 input "$respct" crash --input missing -- true
	refused 125 exists "$respct" crash --store "$work" -- true
}

# What a program could meet instead of its own: nothing is exported that does not stand here.
test_exports()
{
	nm -D --defined-only "$build/librespct.so" | awk '$2 != "A" { print $3 }' | sort >exported
	tr ' ' '\n' <<-END | sort >expected
	_Exit __longjmp_chk __open64_2 __open_2 __openat64_2 __openat_2 __poll_chk __read_chk __recv_chk
	__recvfrom_chk __sigaction __sysv_signal _exit _longjmp accept accept4 aligned_alloc bind bsd_signal
	calloc chroot clock_nanosleep close close_range closefrom connect copy_file_range creat creat64
	daemon dallocx dlopen dup2 dup3 epoll_pwait epoll_pwait2 epoll_wait execl execle execlp execv execve
	execveat execvp execvpe fallocate fallocate64 fcntl fcntl64 fexecve flock fopen fopen64 free freopen
	freopen64 ftruncate ftruncate64 getrandom getrlimit getrlimit64 inotify_add_watch link linkat lockf
	lockf64 longjmp madvise mallctl mallctlbymib mallctlnametomib malloc malloc_stats_print
	malloc_usable_size mallocx memalign mkdir mkdirat mkdtemp mkfifo mkfifoat mknod mknodat mkostemp
	mkostemp64 mkostemps mkostemps64 mkstemp mkstemp64 mkstemps mkstemps64 mlock mlock2 mlockall mmap
	mmap64 mremap munlock munlockall nallocx nanosleep open open64 openat openat64 pkey_alloc poll
	posix_memalign ppoll prlimit prlimit64 pselect pthread_clockjoin_np pthread_create pthread_detach
	pthread_getattr_np pthread_join pthread_mutex_clocklock pthread_mutex_lock pthread_mutex_timedlock
	pthread_mutex_trylock pthread_mutex_unlock pthread_rwlock_clockrdlock pthread_rwlock_clockwrlock
	pthread_rwlock_rdlock pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock pthread_rwlock_tryrdlock
	pthread_rwlock_trywrlock pthread_rwlock_unlock pthread_rwlock_wrlock pthread_sigmask
	pthread_spin_lock pthread_spin_trylock pthread_spin_unlock pthread_timedjoin_np pthread_tryjoin_np
	pvalloc pwrite pwrite64 pwritev pwritev2 pwritev64 pwritev64v2 quick_exit rallocx read readv realloc
	reallocarray recv recvfrom recvmmsg recvmsg remove rename renameat renameat2 respct_checkpoint
	respct_protected rmdir sallocx sdallocx sem_open sem_unlink semtimedop send sendfile sendfile64
	sendmmsg sendmsg sendto setns setrlimit setrlimit64 setsid setsockopt shm_open shm_unlink sigaction
	siginterrupt siglongjmp signal signalfd sigprocmask sigset sigsuspend sigtimedwait sigwait
	sigwaitinfo sleep socketpair ssignal symlink symlinkat syscall sysv_signal thrd_sleep timer_create
	timer_delete timerfd_settime truncate truncate64 unlink unlinkat unshare usleep valloc write writev
	xallocx io_queue_init@LIBAIO_0.1 io_setup@LIBAIO_0.4 io_uring_queue_init@LIBURING_2.0
	io_uring_queue_init@LIBURING_2.4 io_uring_queue_init_mem@LIBURING_2.5
	io_uring_queue_init_params@LIBURING_2.0 io_uring_queue_init_params@LIBURING_2.4
	io_uring_setup@LIBURING_2.3 io_uring_setup@LIBURING_2.4
	END
	diff expected exported >different || fail "exported otherwise than expected (<): $(tr '\n' ' ' <different)"
}

# Rings that the program makes by its own instructions, where nobody can tell it that there are none: they are named, and a
# restore refuses.
test_rings_made_alone()
{
	for kind in io_uring aio; do
		"$helpers/rings" $kind >output 2>errors </dev/null &
		await 30 has_made_ring $!
		kill -9 $! 2>/dev/null
		wait $!
		[ $? -ne 77 ] || skip "this kernel makes no $kind"
		start "$helpers/rings" $kind
		await 30 grep -q "\[$kind\].* is mapped: the program cannot be restored while it is" errors
		[ "$(wc -l <errors)" -le 3 ] || fail "more lines than it needs: $(cat errors)"
		kill_program
		refused 125 "\[$kind\].*: mapped by the program" "$restore" "$store"
		rm -rf "$store"
	done
}

# The ring is there, or the program has ended.
has_made_ring()
{
	grep -q made output || ! kill -0 "$1" 2>/dev/null
}

# ---- the benchmark: that it runs and has a figure in every row ----

test_bench()
{
	BUILD=$build timeout 300 "$bench/bench.sh" --runs 1 --seconds 1 --heap 64 >table 2>errors ||
		fail "bench.sh: $(cat errors)"
	[ ! -s errors ] || fail "bench.sh says: $(cat errors)"
	[ "$(grep -c '^|.* [0-9.]* ([0-9.]* to [0-9.]*) |$' table)" -eq 19 ] || fail "figures are missing: $(cat table)"
	! grep '| - |$' table || fail 'figures are missing'
}

# ---- run ----

trap clean_up EXIT
trap 'exit 1' INT TERM
unset LD_PRELOAD RESPCT_STORE RESPCT_VERIFY RESPCT_INTERVAL_MS RESPCT_DURABILITY RESPCT_QUIET RESPCT_FRESH
case $(type "test_$1" 2>/dev/null) in
*function*) ;;
*) fail "there is no test of this name" ;;
esac
"test_$1"
echo "ok $1"
