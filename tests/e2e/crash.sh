#!/bin/sh
# A program of the suite under `respct crash`, in a scratch directory: crash.sh NAME [--user UID] [options of respct crash].
#
# NAME is the test's; --user, which comes first and is for root alone, runs all as that user. What is left of a failure
# goes to $RESPCT_FAILED/NAME. Exit status: that of respct crash.
set -u

build=${RESPCT_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
evidence=${RESPCT_FAILED:-$build/tests/failed}/$1
as_user=''
# Where an ordinary user can write, whoever owns the build; the store in memory, whatever there is.
place=$(mktemp -d "${TMPDIR:-/var/tmp}/respct-test-XXXXXX") || exit 1
[ -w /dev/shm ] && store=/dev/shm/${place##*/}-store || store=$place/store
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
mkdir "$place/kept"
shift
if [ "${1-}" = --user ]; then
	chown "$2" "$place" "$place/kept"
	as_user="setpriv --reuid $2 --regid $2 --clear-groups"
	shift 2
fi

# Soon enough that the kills come before the end of a short program, also when its undisturbed run was a slow one.
# shellcheck disable=SC2086 # none or some words
$as_user "$build/respct" crash --scratch --store "$store" --max-ms 120 --keep "$place/kept" "$@" >"$place/output" 2>&1
status=$?
if [ $status -eq 1 ]; then
	rm -rf "$evidence"
	mkdir -p "$(dirname "$evidence")"
	mv "$place/kept" "$evidence"
fi
sed "s|$place/kept|$evidence|g" "$place/output"
exit $status
