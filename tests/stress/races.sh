#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Runs each test of races.txt TIMES times in a row. Prints the output of each run that fails and a line of figures a test;
# fails if any run did, or if a line names no test.
# usage: races.sh TESTS-DIRECTORY TIMES [part of a line of races.txt]
set -eu
tests=$1
times=$2
only=${3:-}
log=$(mktemp)
list=$(mktemp)
trap 'rm -f "$log" "$list"' EXIT
grep -v '^#' "$(dirname "$0")/races.txt" | grep -F -- "$only" >"$list"
[ -s "$list" ] || { echo "races: nothing is called '$only'" >&2; exit 2; }

failed=0
while IFS='|' read -r program pattern; do
  i=0
  bad=0
  begin=$(date +%s)
  while [ $i -lt "$times" ]; do
    i=$((i + 1))
    # A pattern that matches nothing is no success: Catch2 says "No tests ran", and returns 0.
    if "$tests/coproc.tests.$program" "$pattern" >"$log" 2>&1 && grep -q '^All tests passed' "$log"; then continue; fi
    bad=$((bad + 1))
    printf '==== races: %s "%s", run %d\n' "$program" "$pattern" "$i"
    cat "$log"
  done
  printf 'races: %4d of %4d runs passed in %4d s: %s "%s"\n' $((times - bad)) "$times" $(($(date +%s) - begin)) "$program" "$pattern"
  failed=$((failed + bad))
done <"$list"
[ $failed = 0 ]
