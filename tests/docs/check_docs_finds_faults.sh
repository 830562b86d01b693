#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Self-test of scripts/check_docs.sh: in a copy of the tree each broken link, each header or test that does not exist, and
# each rule that nobody defines, must be reported at its line. usage: check_docs_finds_faults.sh <source directory> <scratch directory>. Run by ctest.
set -eu
source_dir=$1 scratch=$2
failures=0

rm -rf "$scratch"
mkdir -p "$scratch/tree"
(cd "$source_dir" && cp -R ./*.md LICENSE docs examples include benchmarks scripts tests "$scratch/tree")

# try <accepted|refused> <file> <line>: appends the line to a copy of the file and runs the check.
try() {
  printf '%s\n' "$3" >>"$scratch/tree/$2"
  verdict=refused
  if sh "$source_dir/scripts/check_docs.sh" "$scratch/tree" >"$scratch/output" 2>&1; then verdict=accepted; fi
  # A refusal counts only if it names the line that was added.
  line=$(wc -l <"$scratch/tree/$2")
  if [ "$verdict" = refused ] && ! grep -q "^$2:$((line)):" "$scratch/output"; then verdict="refused elsewhere"; fi
  if [ "$verdict" != "$1" ]; then
    printf '%s with %s: %s, expected: %s\n' "$2" "$3" "$verdict" "$1"
    cat "$scratch/output"
    failures=$((failures + 1))
  fi
  cp "$source_dir/$2" "$scratch/tree/$2"
}

try refused README.md '[gone](docs/gone.md)'
try refused docs/errors.md '[up](../docs/gone.md)'
try refused docs/errors.md '[no such rule](protocol.md#r9)'
try refused docs/errors.md '[no such heading](#nothing-of-the-kind)'
try refused docs/errors.md '[gone]: options.md#nothing-of-the-kind'
try refused docs/errors.md 'By rule K, which is not linked.'
# shellcheck disable=SC2016 # backquotes of Markdown
try refused docs/errors.md 'In `front/gone.hpp`.'
# shellcheck disable=SC2016
try refused docs/errors.md 'Shown by `process/gone` "a test".'
try refused include/coproc/shm/slot.hpp '// rule W7, docs/protocol.md'
try refused tests/model/kill.pml '// rules K and R4, docs/protocol.md'
try refused tests/model/kill.pml '// as front/gone.ipp has it'

try accepted README.md '[here](docs/protocol.md#k), [there](docs), [elsewhere](https://example.org/gone)'
# shellcheck disable=SC2016
try accepted docs/errors.md '[rule K](protocol.md#k), [above](#errors), `[code](gone.md)`'
# shellcheck disable=SC2016
try accepted docs/errors.md '`front/engine.hpp`, `coproc/coproc.hpp`, `process/cancel`, `front/simulation.fault`, `sh/gone`'
try accepted include/coproc/shm/slot.hpp '// rules R1-R3 and K, docs/protocol.md'
try accepted include/coproc/shm/slot.hpp '// front/ring.ipp, tests/model/slot.pml'

rm -rf "$scratch"
exit "$failures"
