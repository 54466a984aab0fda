#!/bin/bash
# Command substitutions, pipelines and jobs in the background: a child that ran at the kill is gone, bash sees SIGKILL, and
# the script does that step again.
again()
{
	local answer
	until answer=$("$@" 2>/dev/null) && [[ $answer ]]; do
		lost=$((lost + 1))
	done
	echo "$answer"
}

sum_of_squares()
{
	set -o pipefail
	seq "$1" $(($1 + 300)) | awk '{ sum += $1 * $1 } END { print sum }'
}

in_background()
{
	local number=$1
	(sleep 0.01; exit $((number % 5))) &
	wait $!
	local status=$?
	[[ $status -eq $((number % 5)) ]] && echo "$number: $status"
}

lost=0
for ((i = 1; i <= 120; i++)); do
	again sum_of_squares $i
	until in_background $i; do
		lost=$((lost + 1))
	done
	read -r line <<-END
		step $i
	END
	echo "$line"
done
echo "$lost children lost" >&2
