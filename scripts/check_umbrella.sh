#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks that <coproc/coproc.hpp> reaches every public header, that is every header directly in coproc/. Left out may be
# fwd.hpp, which is for those who do not want the rest, src.hpp, which is for one source file alone, config.hpp, which
# offers nothing by itself, and testing.hpp, which is for tests. usage: check_umbrella.sh <include directory>. Run by ctest.
set -eu
cd "$1"

find coproc -name '*.hpp' | LC_ALL=C sort | xargs awk '
  BEGIN { exempt["coproc/fwd.hpp"] = exempt["coproc/src.hpp"] = exempt["coproc/config.hpp"] = exempt["coproc/testing.hpp"] = 1 }

  FNR == 1 { exists[FILENAME] = 1 }

  /^[ \t]*#[ \t]*include[ \t]*<coproc\// {
    match($0, /<[^>]*>/)
    edges[FILENAME] = edges[FILENAME] " " substr($0, RSTART + 1, RLENGTH - 2)
  }

  END {
    todo[count = 1] = "coproc/coproc.hpp"
    seen["coproc/coproc.hpp"] = 1
    while (count > 0) {
      n = split(edges[todo[count--]], next_headers, " ")
      for (i = 1; i <= n; i++)
        if (!(next_headers[i] in seen)) {
          seen[next_headers[i]] = 1
          todo[++count] = next_headers[i]
        }
    }
    for (header in exists)
      if (header ~ /^coproc\/[^\/]*$/ && !(header in exempt) && !(header in seen)) {
        printf "%s is not reachable from coproc/coproc.hpp\n", header
        faults++
      }
    exit faults > 0
  }
'
