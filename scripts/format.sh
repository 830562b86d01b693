#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Formats all C++ files below <root> with clang-format 19, as .clang-format says; other versions format otherwise. With
# `check` it changes nothing, names the files that are not formatted, and those with lines of more than 120 columns,
# which clang-format leaves alone in comments. Run by ctest. Exit code 77: there is no clang-format 19.
# usage: format.sh [check] [<root>]
set -eu
mode=format
if [ "${1:-}" = check ]; then
  mode=check
  shift
fi
cd "${1:-$(dirname "$0")/..}"

clang_format=
for candidate in clang-format-19 clang-format; do
  if "$candidate" --version 2>/dev/null | grep -q 'version 19\.'; then clang_format=$candidate && break; fi
done
if [ -z "$clang_format" ]; then
  echo "format.sh: clang-format 19 is not installed"
  exit 77
fi

# Files that are to be seen as they are: mistakes of users, and what others have written.
files() {
  find include tests examples benchmarks cmake \( -name '*.[hi]pp' -o -name '*.cpp' \) ! -path '*/compile_fail/*' |
    LC_ALL=C sort
}

if [ "$mode" = format ]; then
  files | xargs "$clang_format" -i
  exit 0
fi
faults=0
# shellcheck disable=SC2046 # names without blanks
"$clang_format" --dry-run -Werror $(files) 2>&1 >/dev/null | grep -e ' error: ' >&2 && faults=1
files | xargs awk 'length($0) > 120 { printf "%s:%d: more than 120 columns\n", FILENAME, FNR; faults = 1 }
  END { exit faults }' >&2 || faults=1
exit $faults
