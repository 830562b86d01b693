#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Self-test of scripts/reference.sh: in a copy of the tree a public name without a comment must be reported, and nothing
# else. usage: reference_finds_faults.sh <source directory> <scratch directory>. Run by ctest; 77 if there is no doxygen.
set -eu
source_dir=$1 scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/tree"
(cd "$source_dir" && cp -R docs include scripts "$scratch/tree")
failures=0

# try <text of the error> <header> <line>: appends the line to the header and makes the reference.
try() {
  cp "$source_dir/$2" "$scratch/tree/$2"
  printf '%s\n' "$3" >>"$scratch/tree/$2"
  line=$(wc -l <"$scratch/tree/$2")
  verdict=0
  sh "$scratch/tree/scripts/reference.sh" "$scratch/reference" check >"$scratch/output" 2>&1 || verdict=$?
  [ "$verdict" != 77 ] || { cat "$scratch/output"; exit 77; }
  if [ "$verdict" = 0 ] || [ "$(grep -c ': error: ' "$scratch/output")" != 1 ] ||
     ! grep -q "$(basename "$2"):$((line)): error: .*$1" "$scratch/output"; then
    printf '%s with %s: returned %s, expected an error at line %s: %s\n' "$2" "$3" "$verdict" "$((line))" "$1"
    cat "$scratch/output"
    failures=$((failures + 1))
  fi
  cp "$source_dir/$2" "$scratch/tree/$2"
}

try 'probe() (function) of namespace coproc is not documented' include/coproc/run.hpp 'namespace coproc { void probe(); }'
try 'Compound coproc::probe is not documented' include/coproc/codec/writer.hpp 'namespace coproc { struct probe { int n = 0; /**< documented */ }; }'

rm -rf "$scratch"
exit "$failures"
