# Counts words with hashes and regular expressions, sorts, and dies and is caught inside evals.
use strict;
use warnings;

my (%count, %by_length, $caught, $sum);
open(my $file, '<', $ARGV[0]) or die "$ARGV[0]: $!";
while (my $line = <$file>) {
	for my $word (split ' ', $line) {
		$count{$word}++;
		(my $other = $word) =~ s/(\d)(\d)/$2$1/g;
		push @{$by_length{length $other}}, $other if $count{$word} < 3;
	}
	eval { die { line => $. } if $. % 7 == 0; 1 } or $caught += $@->{line};
	if ($. % 20000 == 0) {
		$sum += $_ * @{$by_length{$_}} for keys %by_length;
		my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
		print "$. $sum $sorted[0] $sorted[-1]\n";
	}
}
print "$_ $count{$_}\n" for sort keys %count;
print "caught $caught\n";
