#!/usr/bin/perl
# The number service as a core in another language, written from docs/stream-format.md alone.
use strict;
use warnings;

my @table = map { my $c = $_; $c = $c & 1 ? 0xEDB88320 ^ $c >> 1 : $c >> 1 for 1 .. 8; $c } 0 .. 255;

sub crc32 {
    my $c = 0xFFFFFFFF;
    $c = $table[($c ^ $_) & 255] ^ $c >> 8 for unpack 'C*', $_[0];
    return $c ^ 0xFFFFFFFF;
}

sub get {    # so many bytes of the input; none at its end, if it may end here
    my ($size, $may_end) = @_;
    my $data = '';
    while (length $data < $size) {
        my $count = sysread(STDIN, $data, $size - length $data, length $data) // die "cannot read: $!\n";
        return '' if !$count && $may_end && $data eq '';
        die "the stream was cut off\n" unless $count;
    }
    return $data;
}

sub put {
    for (my $at = 0; $at < length $_[0];) {
        $at += syswrite(STDOUT, $_[0], length($_[0]) - $at, $at) // die "cannot write: $!\n";
    }
}

my %fixed = (0xCA => 'f>', 0xCB => 'd>', 0xCC => 'C', 0xCD => 'n', 0xCE => 'N', 0xCF => 'Q>', 0xD0 => 'c',
    0xD1 => 's>', 0xD2 => 'l>', 0xD3 => 'q>');
my %sized = map { $_->[0] => $_ } [0xC4, 'C/a'], [0xC5, 'n/a'], [0xC6, 'N/a'], [0xD9, 'C/a'], [0xDA, 'n/a'],
    [0xDB, 'N/a'], [0xDC, 'n', 1], [0xDD, 'N', 1], [0xDE, 'n', 2], [0xDF, 'N', 2];

sub item {    # take an item of msgpack off the front; of an array or map, a list
    my $take = sub { my ($value, $rest) = unpack "$_[1] a*", $_[0]; $_[0] = $rest; $value };
    my $b = $take->($_[0], 'C');
    return $b if $b < 0x80;
    return $b - 0x100 if $b >= 0xE0;
    return $take->($_[0], 'a' . ($b & 31)) if $b >= 0xA0 && $b < 0xC0;
    return $b == 0xC0 ? undef : $b - 0xC2 if $b >= 0xC0 && $b < 0xC4;
    return $take->($_[0], $fixed{$b}) if $fixed{$b};
    my $kind = $b < 0xA0 ? ($b < 0x90 ? 2 : 1) : ($sized{$b} // die "an unknown item\n")->[2];
    my $count = $b < 0xA0 ? $b & 15 : $take->($_[0], $sized{$b}[1]);
    return $count unless $kind;    # a text or bytes
    return [map { item($_[0]) } 1 .. $count * $kind];
}

sub whole {
    my ($n) = @_;
    return pack 'C', $n if $n < 0x80;
    my ($first, $form) = $n < 0x100 ? (0xCC, 'C') : $n < 0x10000 ? (0xCD, 'n') : $n < 2**32 ? (0xCE, 'N') : (0xCF, 'Q>');
    return pack "C$form", $first, $n;
}

sub text { my $n = length $_[0]; return ($n < 32 ? pack 'C', 0xA0 | $n : pack 'CC', 0xD9, $n) . $_[0] }

my ($last, $keys_max, @keys, %outcome_of) = (0, 100_000);

sub outcome {    # what becomes of an event; given its seq, it has failed
    my ($name, undef, $fields, undef, $key) = @{ item($_[0]) };
    my $failed = $_[1];
    return $outcome_of{$key} if defined $key && exists $outcome_of{$key};
    my %field = @$fields;
    my $said = "\xC0";
    $keys_max = $field{keys_remembered_max} if $name eq 'happy.Configured';
    if ($name eq 'Next' && $failed) {
        my $seq = whole($failed);
        $said = pack('C', { 1 => 0xD4, 2 => 0xD5 }->{ length $seq } // 0xC7) . (length $seq > 2 ? pack 'C', length $seq : '') . "\x02$seq";
    } elsif ($name eq 'Next' && $field{count} >= 1 && $field{count} <= 1_000_000) {
        $said = whole($last + 1);
        $last += $field{count};
    } elsif ($name eq 'Next') {
        my $no = "\x94" . text('count is one whole number from 1 to 1000000') . whole(400) . whole(554) . text('5.7.1');
        $said = pack('CCC', 0xC7, length $no, 1) . $no;
    } elsif ($name !~ /^happy\./) { die "an unknown event $name\n" }
    if (defined $key) {
        push @keys, $key;
        $outcome_of{$key} = $said;
        delete $outcome_of{ shift @keys } while @keys > $keys_max;
    }
    return $said;
}

sub answer {
    my ($kind, $first, $count, $chain, $body, $quarantined) = @{ $_[0] };
    my @events = $kind == 1 ? unpack "(V/a)$count", $body : ();
    my $outcomes = join '', map { outcome($events[$_], $quarantined->{ $first + $_ } && $first + $_) } 0 .. $#events;
    my $out = pack 'a4 C x3 V V Q< a16 V', 'HOUT', $kind, length $outcomes, $count, $first, $chain, crc32($outcomes);
    put($out . pack('V', crc32($out)) . $outcomes);
}

binmode $_ for *STDIN, *STDOUT;
my $live_from = @ARGV == 2 && $ARGV[0] eq '--live-from' ? $ARGV[1] : 2**64;
my ($backlog, $salt, $journal, $time, $next, @held) = (undef, undef, undef, 0, 1);
while ((my $head = get(8, 1)) ne '') {
    if ($head eq 'HAPPYJNL') {
        $head .= get(4088);
        my ($version, $its_salt, $its_journal, undef, $first) = unpack 'x8 v x2 V a16 Q< Q<', $head;
        die "not the next block\n" if crc32(substr $head, 0, 4092) != unpack 'x4092 V', $head;
        die "not the next block\n" if $version != 1 || $first != $next || ($journal // $its_journal) ne $its_journal;
        my $out = pack 'a8 v x6 a16 Q< x20', 'HAPPYOUT', 1, $its_journal, $first;
        put($out . pack 'V', crc32($out)) unless defined $journal;
        ($salt, $journal) = ($its_salt, $its_journal);
        next;
    }
    die "seq $next: not a frame\n" if substr($head, 0, 4) ne 'HFRM' || !defined $salt;
    $head .= get(64);
    my ($kind, $mask, $length, $count, $its_salt, $crc, $first, $its_time, undef, $chain) =
        unpack 'x4 C x a2 V4 Q<3 a16', $head;
    die "seq $next: a bad header\n" if crc32(substr $head, 0, 68) != unpack 'x68 V', $head;
    my $body = get($length + 7 & ~7);
    die "seq $next: a bad body\n" if crc32($body) != $crc;
    die "seq $next: not the next frame\n" if $its_salt != $salt || $first != $next || $its_time < $time;
    ($next, $time) = ($first + $count, $its_time);
    push @held, [$kind, $first, $count, $chain, substr($body ^ $mask x (length($body) / 2), 0, $length), {}];
    if ($kind == 6) { $backlog = unpack 'Q<', $held[-1][4] }
    if ($kind == 5) { $_->[5]{ unpack 'Q<', $held[-1][4] } = 1 for @held }
    my $batches = grep { $_->[0] == 1 } @held;
    if ($first >= $live_from || !$batches || $kind >= 2 && $kind <= 4) { answer(shift @held) while @held }
    elsif ($kind == 1) {
        while ($batches > 2 && (!defined $backlog || $held[0][1] + $held[0][2] <= $backlog)) {
            do { answer(shift @held) } while $held[0][0] != 1;
            --$batches;
        }
        undef $backlog;
    }
}
answer(shift @held) while @held;
