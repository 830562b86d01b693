#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# The program in the README is examples/01_hello.cpp from its first #include on, and the output below it is what
# the example prints.
# usage: check_readme.sh <path to the hello binary>
set -eu
cd "$(dirname "$0")/.."
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

awk '/^```cpp$/ { inside = 1; next } /^```$/ && inside { exit } inside' README.md >"$directory/readme.cpp"
awk '/^#include/ { inside = 1 } inside' examples/01_hello.cpp >"$directory/example.cpp"
diff -u "$directory/example.cpp" "$directory/readme.cpp"

awk '/^```text$/ { inside = 1; next } /^```$/ && inside { exit } inside' README.md >"$directory/readme.txt"
"$1" >"$directory/output.txt"
diff -u "$directory/output.txt" "$directory/readme.txt"
