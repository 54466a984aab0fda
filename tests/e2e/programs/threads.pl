# Interpreter threads with shared variables, condition variables and a queue.
use strict;
use warnings;
use threads;
use threads::shared;

my $total : shared = 0;
my @queue : shared;
my $done : shared = 0;

sub work {
	my $sum = 0;
	while (1) {
		my $item;
		{
			lock(@queue);
			cond_wait(@queue) until @queue || $done;
			$item = shift @queue;
		}
		return $sum unless defined $item;
		my $value = $item;
		$value = ($value * 1103515245 + 12345) % 2147483648 for 1 .. 100;
		$sum += $value;
		lock($total);
		$total += $value;
	}
}

my @threads = map { threads->create(\&work) } 1 .. 4;
for my $item (1 .. 150000) {
	lock(@queue);
	push @queue, $item;
	cond_signal(@queue);
}
{
	lock(@queue);
	$done = 1;
	cond_broadcast(@queue);
}
my $sum = 0;
$sum += $_->join() for @threads;
print "$sum $total\n";
die "sums differ" unless $sum == $total;
