#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Runs an example and checks its output: exit status 0, and every line of the file <expected>, a regular expression of
# grep -E, matches a line of the output. usage: check_output.sh <expected> <program> [argument...]. Run by ctest.
set -eu
expected=$1
shift

output=$("$@" 2>&1) || {
  status=$?
  printf '%s\n' "$output"
  echo "exit status $status, expected: 0"
  exit 1
}
printf '%s\n' "$output"

if [ ! -s "$expected" ]; then
  echo "there is nothing to check: $expected is missing or empty"
  exit 1
fi
missing=0
while IFS= read -r line; do
  if [ -n "$line" ] && ! printf '%s\n' "$output" | grep -Eq -e "$line"; then
    echo "no line of the output matches: $line"
    missing=1
  fi
done <"$expected"
exit "$missing"
