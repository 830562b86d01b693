#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Runs the long versions of the reliability tests for HOURS hours, in rounds of about two hours, on what is built in
# build/<preset>; the first failure ends it, and its seed is printed. HOURS may be a fraction: each part of a round is then
# shortened in proportion, below one round.
# usage: soak.sh HOURS [preset]        (default preset: release; build it first with scripts/test.sh)
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: soak.sh HOURS [preset]" >&2; exit 2; }
preset=${2:-release}
tests=build/$preset/tests
[ -x "$tests/stress/coproc.tests.stress.random_kills" ] || { echo "soak: $tests is not built" >&2; exit 2; }

seconds=$(awk -v hours="$1" 'BEGIN { printf "%d", hours * 3600; exit !(hours + 0 > 0) }') ||
  { echo "soak: '$1' is no number of hours" >&2; exit 2; }
# scaled <number> <least>: what a part does in a whole round of two hours, or its share of a shorter one.
scaled() {
  awk -v whole="$1" -v least="$2" -v seconds="$seconds" \
    'BEGIN { n = seconds < 7200 ? whole * seconds / 7200 : whole; printf "%d", n < least ? least : n }'
}

end=$(($(date +%s) + seconds))
seed=$(date +%s)
round=0
while [ "$(date +%s)" -lt "$end" ]; do
  round=$((round + 1))
  seed=$((seed + 1))
  printf '\n==== round %d, seed %d, %s\n' "$round" "$seed" "$(date)"
  "$tests/stress/coproc.tests.stress.random_kills" --kills "$(scaled 1000000 1000)" --seed "$seed" --seconds "$(scaled 1800 10)"
  COPROC_SEEDS=$(scaled 1000000 1000) COPROC_FIRST_SEED="${seed}000" "$tests/coproc.tests.front.simulation.fault"
  COPROC_STRESS_SECONDS=$(scaled 60 2) "$tests/coproc.tests.stress.hostile_worker.fault"
  "$tests/stress/coproc.tests.stress.cycles" --cycles "$(scaled 10000 300)" --respawns "$(scaled 10000 500)"
  if [ -x "$tests/fuzz/coproc.tests.fuzz.parent_reader" ]; then # clang builds it
    mkdir -p "$tests/fuzz/found"
    "$tests/fuzz/coproc.tests.fuzz.parent_reader" -max_total_time="$(scaled 900 10)" -max_len=512 -print_final_stats=1 \
      "$tests/fuzz/found" tests/fuzz/corpus/parent_reader
  fi
  sh tests/stress/races.sh "$tests" "$(scaled 1000 3)"
done
echo "==== soak: $round rounds passed"
