#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Runs the long versions of the reliability tests for HOURS hours, in rounds of about an hour, on what is built in
# build/<preset>; the first failure ends it, and its seed is printed.
# usage: soak.sh HOURS [preset]        (default preset: release; build it first with scripts/test.sh)
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: soak.sh HOURS [preset]" >&2; exit 2; }
preset=${2:-release}
tests=build/$preset/tests
[ -x "$tests/stress/coproc.tests.stress.random_kills" ] || { echo "soak: $tests is not built" >&2; exit 2; }

end=$(($(date +%s) + $1 * 3600))
seed=$(date +%s)
round=0
while [ "$(date +%s)" -lt "$end" ]; do
  round=$((round + 1))
  seed=$((seed + 1))
  printf '\n==== round %d, seed %d, %s\n' "$round" "$seed" "$(date)"
  "$tests/stress/coproc.tests.stress.random_kills" --kills 1000000 --seed "$seed" --seconds 1800
  COPROC_SEEDS=1000000 COPROC_FIRST_SEED="${seed}000" "$tests/coproc.tests.pool.simulation.fault"
  COPROC_STRESS_SECONDS=60 "$tests/coproc.tests.stress.hostile_worker.fault"
  "$tests/stress/coproc.tests.stress.cycles" --cycles 10000 --respawns 10000
  if [ -x "$tests/fuzz/coproc.tests.fuzz.parent_reader" ]; then
    mkdir -p "$tests/fuzz/found"
    "$tests/fuzz/coproc.tests.fuzz.parent_reader" -max_total_time=900 -max_len=512 "$tests/fuzz/found" tests/fuzz/corpus/parent_reader
  fi
  for race in crash cancel timeout lifetime; do # what is a race at times, again and again
    i=0
    while [ $i -lt 10 ]; do
      i=$((i + 1))
      "$tests/coproc.tests.process.$race" >"$tests/soak.log" 2>&1 || { cat "$tests/soak.log"; echo "soak: $race fails"; exit 1; }
    done
  done
done
echo "==== soak: $round rounds passed"
