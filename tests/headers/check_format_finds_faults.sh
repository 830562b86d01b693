#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Self-test of format.sh check: passes what is formatted, finds what is not, and lines that are too long.
# usage: check_format_finds_faults.sh <project> <scratch directory>
set -eu
project=$1
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/include" "$scratch/tests" "$scratch/examples" "$scratch/benchmarks" "$scratch/cmake"
cp "$project/.clang-format" "$scratch"
echo 'int formatted();' >"$scratch/include/file.hpp"
sh "$project/scripts/format.sh" check "$scratch"

expect_fault() { # <text of the fault> <line>
  printf '%s\n' "$2" >"$scratch/include/file.hpp"
  if sh "$project/scripts/format.sh" check "$scratch" 2>"$scratch/found"; then
    echo "format.sh overlooks: $2" >&2
    exit 1
  fi
  grep -q "$1" "$scratch/found"
}
expect_fault 'clang-format-violations' 'int  unformatted( ) ;'
expect_fault 'more than 120 columns' "// $(printf '%0120d' 0)"
