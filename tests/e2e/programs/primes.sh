#!/bin/bash
# Builtins only: arrays, traps, arithmetic, a here document, output all along.
declare -a sieve
declare -A last
limit=120000
for ((i = 2; i <= limit; i++)); do
	[[ ${sieve[i]} ]] && continue
	last[$((i % 10))]=$i
	((i * i <= limit)) || continue
	for ((j = i * i; j <= limit; j += i)); do
		sieve[j]=1
	done
	echo "$i crossed out, ${#sieve[@]} in all"
done
for digit in 1 3 7 9; do
	read -r number <<-END
		${last[$digit]}
	END
	printf 'last prime in ..%d: %d\n' "$digit" "$number"
done
