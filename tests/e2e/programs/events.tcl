# Lists, sorting, timers in the event loop.
set sum 0
for {set round 1} {$round <= 60} {incr round} {
	set numbers {}
	for {set i 0} {$i < 12000} {incr i} {
		lappend numbers [expr {($i * $round * 7919) % 10007}]
	}
	foreach number [lsort -integer $numbers] {
		set sum [expr {($sum * 31 + $number) % 1000000007}]
	}
	after 5 {set rested 1}
	vwait rested
	puts "$round $sum"
}
