#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Which branches of the validator does the fuzzer's corpus cover? Builds the replay with clang 19's coverage in
# build/coverage, runs it over the corpus, and prints llvm-cov's figures and every branch of front/ring.ipp that
# never went one way. Fails if there is one in the validator itself.
# usage: coverage.sh [corpus-directory...]   (default: the corpus of the repository; needs Debian's clang-19 and llvm-19)
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- tests/fuzz/corpus/parent_reader
mkdir -p build
build=build/coverage
flags="-fprofile-instr-generate -fcoverage-mapping"
# shellcheck disable=SC2086 # more options for cmake, such as where Boost is
cmake -S . -B $build -G Ninja -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="$flags -O1" \
  -DCOPROC_BUILD_EXAMPLES=OFF -DCOPROC_BUILD_BENCHMARKS=OFF ${COPROC_CMAKE_OPTIONS:-} >build/coverage.log 2>&1 || { cat build/coverage.log; exit 1; }
cmake --build $build --target coproc.tests.fuzz.parent_reader_replay -j "${COPROC_JOBS:-$(nproc)}"
program=$build/tests/fuzz/coproc.tests.fuzz.parent_reader_replay
LLVM_PROFILE_FILE=$build/replay.profraw $program "$@"
llvm-profdata-19 merge -sparse $build/replay.profraw -o $build/replay.profdata

source=include/coproc/front/ring.ipp
llvm-cov-19 report $program -instr-profile=$build/replay.profdata $source
# A branch is printed below its line as "Branch (line:column): [True: n, False: n]"; templates are printed more than once.
llvm-cov-19 show $program -instr-profile=$build/replay.profdata -show-branches=count $source >$build/ring.txt
awk -v source=$source '
  BEGIN {
    while ((getline text < source) > 0) {
      ++line
      if (text ~ / ring::(drain_one|state_of|legal_remains|legal_head|take_(unusual_)?result)\(/) inside = 1
      if (inside) validator[line] = 1
      if (text ~ /^}$/) inside = 0
    }
  }
  match($0, /Branch \([0-9]+:[0-9]+\): \[True: [^,]+, False: [^]]+\]/) {
    where = substr($0, RSTART + 8, index(substr($0, RSTART), ")") - 9)
    text = substr($0, RSTART, RLENGTH)
    true = text; sub(/.*True: /, "", true); sub(/,.*/, "", true)
    false = text; sub(/.*False: /, "", false); sub(/\].*/, "", false)
    seen[where] = 1
    if (true != "0") yes[where] = 1
    if (false != "0") no[where] = 1
  }
  END {
    for (where in seen) {
      split(where, at, ":")
      mine = (at[1] in validator)
      all += 2; covered += (where in yes) + (where in no)
      if (mine) { v_all += 2; v_covered += (where in yes) + (where in no) }
      if (!(where in yes)) print "never true:  " where (mine ? "  (validator)" : "")
      if (!(where in no)) print "never false: " where (mine ? "  (validator)" : "")
    }
    printf "branches of %s: %d of %d; of its validator: %d of %d\n", source, covered, all, v_covered, v_all
    exit v_all == 0 || v_covered != v_all
  }' $build/ring.txt
