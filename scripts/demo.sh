#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Builds the examples of coproc and runs them one after the other; installs what is missing first, see setup.sh.
# usage: demo.sh [name]...             (default: all of examples/)
set -eu
cd "$(dirname "$0")/.."

sh scripts/setup.sh release
echo "coproc: building the examples in build/release"
cmake --build --preset release --target coproc.examples

heading() { printf '\n\033[1m== %s\033[0m\n' "$1"; }
[ -t 1 ] || heading() { printf '\n== %s\n' "$1"; }

if [ $# -eq 0 ]; then
  for source in examples/[0-9][0-9]_*.cpp; do
    set -- "$@" "$(basename "$source" .cpp)"
  done
  set -- "$@" hash_files
fi
cd build # what a demo writes stays there
for name; do
  program=release/examples/$name
  if [ ! -x "$program" ]; then
    heading "$name: left out, because Nettle is not installed"
  elif [ "$name" = hash_files ]; then
    heading "hash_files /usr/include, what sha512sum prints for every file below it; the first three lines:"
    "$program" /usr/include >hash_files.txt
    head -n 3 hash_files.txt
  else
    heading "$name"
    "$program"
  fi
done
