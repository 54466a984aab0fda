# Counts words and pairs of words in arrays that grow and are deleted again, and prints the sorted counts.
{
	for (i = 1; i <= NF; i++) {
		count[$i]++
		if (i > 1)
			pairs[substr($(i - 1), 1, 3), $i]++
	}
	if (NR % 20000 == 0) {
		for (pair in pairs)
			sum += pairs[pair] * length(pair)
		delete pairs
		print NR, sum, length(count)
	}
}

END {
	n = asorti(count, words)
	for (i = 1; i <= n; i++)
		print words[i], count[words[i]]
}
