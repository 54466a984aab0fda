<?php
// Arrays that grow and shrink, exceptions, serialisation.
const ROUNDS = 80;

$lists = [];
for ($round = 1; $round <= ROUNDS; $round++) {
	for ($i = 0; $i < 20000; $i++) {
		$key = 'k' . ($i * $round % 9973);
		$lists[$key][] = $i;
		if (count($lists[$key]) > 20)
			unset($lists[$key]);
	}
	try {
		throw new Exception("round $round");
	} catch (Exception $e) {
		echo $e->getMessage(), ' ', count($lists), ' ', md5(serialize($lists)), "\n";
	}
}
