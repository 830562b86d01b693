#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks that a shared library which was compiled with hidden symbols has no variable of coproc to itself: each is one a
# process, or else its tasks and error codes are strangers to the program. usage: check_hidden_symbols.sh <library>. Run by
# ctest.
set -eu
symbols=$(objdump -tC "$1")

# Local symbols in writable sections: "<address> l     O .bss <size> <name>". Two are each module's own by purpose: they note
# that it has told the system something.
hidden=$(printf '%s\n' "$symbols" | grep -E '^[0-9a-f]+ l .* \.(t?bss|t?data)[[:space:]].*coproc::' |
  grep -vE 'coproc::os::(count_forks\(\)::installed|announce_heavy_fences\(\)::announced)' || :)
if [ -n "$hidden" ]; then
  printf '%s\nmark these with COPROC_VISIBLE (see include/coproc/config.hpp)\n' "$hidden"
  exit 1
fi
if ! printf '%s\n' "$symbols" | grep -q 'coproc::.*this_worker_context'; then
  echo "no symbols of coproc: stripped, or the wrong file?"
  exit 1
fi
