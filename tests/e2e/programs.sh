#!/bin/sh
# Real programs, as the distribution ships them, killed and restored: programs.sh NAME [arguments of crash.sh].
#
# One function for each: program_NAME() says what must be installed, makes its input and runs it. Input is made once for
# each build, as the same bytes every time. A program works for about a second undisturbed, and prints what depends on all
# it did and on nothing else. Exit status: that of respct crash; 77 when the program is not installed.
#
# shellcheck disable=SC3013 # -nt is known to every sh of Debian
#
# The scripts and clients that programs are given are in programs/, copied to BUILD/tests/programs, where an
# ordinary user can read them.
set -u

here=$(cd "$(dirname "$0")" && pwd)
build=${RESPCT_BUILD:-$here/../../build}
scripts=$build/tests/programs
inputs=$build/tests/inputs
name=$1
shift
umask 022
# The distribution's programs, not what an administrator may have put before them.
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# ---- words ----

# needs PACKAGE...: the packages this program comes in.
needs()
{
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed && continue
		echo "skipped program/$name: $package is not installed"
		exit 77
	done
}

# input KIND SIZE: sets $input to a file of SIZE MiB: `text` (words, which compress well) or `bytes` (which do not).
input()
{
	make_once "$1-$2" "$0" "generate_$1" "$2"
}

# make_once NAME SOURCE COMMAND...: sets $input to the file NAME, COMMAND's output, made anew when SOURCE is newer. Several
# tests may need it at the same time.
make_once()
{
	input=$inputs/$1 source=$2
	shift 2
	mkdir -p "$inputs"
	(
		flock 9
		[ "$input" -nt "$source" ] || { "$@" >"$input.new" && mv "$input.new" "$input"; }
	) 9>"$inputs/lock" || exit 1
}

generate_bytes()
{
	openssl enc -aes-128-ctr -K 00 -iv 00 </dev/zero 2>/dev/null | head -c "$1M"
}

generate_text()
{
	generate_bytes "$1" | od -An -v -tu2 -w32 | sed 's/1/ten /g; s/7/seven /g' | head -c "$1M"
}

# Sets $port to one that is free, below the range the kernel hands out, so that nobody else gets it between two lives.
free_port()
{
	port=$(python3 -c '
import random, socket
while True:
    port = random.randrange(10000, 30000)
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        continue
    print(port)
    break')
}

# run [options of respct crash] -- PROGRAM ARGUMENT...
run()
{
	# shellcheck disable=SC2086 # a list
	exec "$here/crash.sh" $options --expect "same-output${EXPECTED:+=$EXPECTED/program_$name}" "$@"
}

# ---- what computes ----

program_pigz()
{
	needs pigz openssl
	input text 4
	run -- pigz -c -9 -p 3 "$input"
}

program_pbzip2()
{
	needs pbzip2 openssl
	input text 10
	run -- pbzip2 -c -k -p3 -b2 -m100 "$input"
}

program_xz()
{
	needs xz-utils openssl
	input text 3
	run -- xz -c -k -T2 -6 --block-size=512KiB "$input"
}

program_zstd()
{
	needs zstd openssl
	input text 6
	run -- zstd -q -c -T2 -B1MiB -11 "$input"
}

# In Rust. The same file again and again: making it takes longer than this.
program_b3sum()
{
	needs b3sum openssl
	input bytes 32
	# shellcheck disable=SC2046 # a list
	run -- b3sum --num-threads 3 --no-names $(yes "$input" | head -n 300)
}

program_openssl_enc()
{
	needs openssl
	input bytes 32
	run -- openssl enc -aes-256-cbc -pbkdf2 -iter 1000000 -pass pass:secret -S 0102030405060708 -a -in "$input"
}

program_openssl_dgst()
{
	needs openssl
	input bytes 64
	run -- openssl dgst -sha3-512 "$input" "$input" "$input"
}

# Key derivation: one long call in a library, no system calls.
program_openssl_kdf()
{
	needs openssl
	run -- openssl kdf -keylen 64 -kdfopt digest:SHA512 -kdfopt pass:secret -kdfopt salt:salt \
		-kdfopt iter:2000000 PBKDF2
}

program_gawk()
{
	needs gawk openssl
	input text 3
	run -- gawk -f "$scripts/words.awk" "$input"
}

program_perl()
{
	needs perl openssl
	input text 8
	run -- perl "$scripts/words.pl" "$input"
}

program_perl_threads()
{
	needs perl
	run -- perl "$scripts/threads.pl"
}

program_bash()
{
	needs bash
	run -- bash "$scripts/primes.sh"
}

program_bash_children()
{
	needs bash gawk
	run -- bash "$scripts/children.sh"
}

program_lua()
{
	needs lua5.4
	run -- lua5.4 "$scripts/tables.lua"
}

program_ruby()
{
	needs ruby
	run -- ruby "$scripts/threads.rb"
}

# Its extensions are loaded with RTLD_DEEPBIND.
program_php()
{
	needs php-cli
	run -- php "$scripts/arrays.php"
}

program_tcl()
{
	needs tcl
	run -- tclsh "$scripts/events.tcl"
}

# A compiler and a garbage collector beside the program's threads.
program_java()
{
	needs openjdk-17-jdk-headless openssl
	make_once java "$scripts/Work.java" javac -d "$inputs" "$scripts/Work.java"
	# A java that starts removes what a killed one of the same user has left in /tmp, here and in other tests.
	run -- java -XX:-UsePerfData -cp "$inputs" Work
}

program_sbcl()
{
	needs sbcl
	run -- sbcl --script "$scripts/threads.lisp"
}

# ---- python ----

program_python_threads()
{
	needs python3
	run -- python3 "$scripts/threads.py"
}

# A server and its clients in one process, on loopback.
program_python_asyncio()
{
	needs python3
	run -- python3 "$scripts/asyncio_inside.py"
}

program_python_server()
{
	needs python3
	free_port
	run --client "python3 $scripts/asyncio_client.py $port" -- \
		python3 "$scripts/asyncio_server.py" "$port"
}

program_python_subprocess()
{
	needs python3
	run -- python3 "$scripts/children.py"
}

program_python_multiprocessing()
{
	needs python3
	run -- python3 "$scripts/pool.py"
}

# ---- stress-ng; what it does in its children, done in the process that is killed ----

# stress STRESSOR OPERATIONS [option...]
stress()
{
	needs stress-ng
	stressor=$1 operations=$2
	shift 2
	LD_PRELOAD=$build/tests/helpers/become_child
	export LD_PRELOAD
	run -- stress-ng --temp-path . --verify "--$stressor" 1 "--$stressor-ops" "$operations" "$@"
}

program_stress_vm()
{
	stress vm 40000 --vm-bytes 32m
}

program_stress_mmap()
{
	stress mmap 15 --mmap-bytes 8m
}

program_stress_pthread()
{
	stress pthread 3000
}

program_stress_timer()
{
	stress timer 10000
}

program_stress_timerfd()
{
	stress timerfd 5000
}

program_stress_sigsegv()
{
	stress sigsegv 300000
}

program_stress_sigpending()
{
	stress sigpending 300000
}

# ---- databases in files ----

# The shell of sqlite, with a journal as MODE says, and TRANSACTIONS transactions.
sqlite()
{
	needs sqlite3 gawk
	make_once "bank-$1-$2" "$scripts/bank.awk" \
		gawk -v mode="$1" -v transactions="$2" -f "$scripts/bank.awk"
	run -- sqlite3 -batch bank ".read $input"
}

program_sqlite()
{
	sqlite DELETE 5000
}

program_sqlite_persist()
{
	sqlite PERSIST 5000
}

# A log that is written ahead, and an index of it in memory that is shared through a file.
program_sqlite_wal()
{
	sqlite WAL 8000
}

# ---- servers; the client in programs/ checks all they hold and stops them ----

# redis [option...]: in the mode the client is told.
redis()
{
	needs redis-server redis-tools python3
	mode=$1
	shift
	free_port
	run --client "python3 $scripts/redis.py $port $mode" -- redis-server --bind 127.0.0.1 --port "$port" \
		--loglevel warning --logfile server.log --save "" "$@"
}

program_redis()
{
	redis memory --io-threads 2 --io-threads-do-reads yes
}

# Children that write the data in the background; one that is lost is reported as killed.
program_redis_save()
{
	redis save
}

program_redis_append()
{
	redis append --appendonly yes --appendfsync everysec --auto-aof-rewrite-percentage 0
}

# One process; requests on connections that are kept, some of them for parts of a file.
program_nginx()
{
	needs nginx-light python3 openssl
	input text 1
	free_port
	sed "s|PORT|$port|; s|ROOT|$inputs|" "$scripts/nginx.conf" >"$inputs/nginx-$port.conf"
	run --client "python3 $scripts/http_client.py $port $input \$RESPCT_STORE" -- \
		nginx -p . -e stderr -c "$inputs/nginx-$port.conf"
}

# ---- the one that was asked for ----

options="${*:-program/$name}"
"program_$name"
