#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks that every relative link in a *.md leads to a file, and where it names one to a heading or an id in it; that
# every header that a *.md or a comment names (shm/slot.hpp) exists, and every test that a *.md names (`process/cancel`);
# and that each rule that is cited (rule K, rules R1-R3 ...) is defined in docs/protocol.md, to which Markdown must link.
# usage: check_docs.sh <root>          (<root> is the source directory). Run by ctest.
set -eu
cd "$1"

find . \( -name .git -o -name 'build*' -o -path ./tests/docs -o -path ./tests/fuzz/corpus \) -prune -o -print | sed 's|^\./||' | LC_ALL=C sort |
  awk '
  function fault(where, text) {
    print where ": " text
    faults++
  }

  # As GitHub makes it of the text of a heading.
  function slug(text) {
    text = tolower(text)
    gsub(/<[^>]*>/, "", text)
    gsub(/[^a-z0-9 _-]/, "", text)
    gsub(/ /, "-", text)
    return text
  }

  function note_link(file, line, target) {
    if (target ~ /^[a-z]+:/ || target == "") return
    links[++link_count] = target
    link_file[link_count] = file
    link_line[link_count] = line
  }

  function read_markdown(file, text, line, code, rest, name) {
    while ((getline text < file) > 0) {
      line++
      if (text ~ /^ *```/) code = !code
      if (code) continue
      if (text ~ /^#+ /) {
        sub(/^#+ */, "", text)
        anchors[file "#" slug(text)] = 1
      }
      rest = text
      while (match(rest, /<a id="[^"]*"/)) {
        anchors[file "#" substr(rest, RSTART + 7, RLENGTH - 8)] = 1
        rest = substr(rest, RSTART + RLENGTH)
      }
      rest = text
      while (match(rest, /`[a-z_]+\/[a-z_0-9\/.]+`/)) {
        name = substr(rest, RSTART + 1, RLENGTH - 2)
        if (name ~ /\.[hi]pp$/) named[name] = file ":" line
        else named_tests[name] = file ":" line
        rest = substr(rest, RSTART + RLENGTH)
      }
      gsub(/`[^`]*`/, "", text)
      if (match(text, /^\[[^]]*\]: */)) note_link(file, line, substr(text, RSTART + RLENGTH))
      rest = text
      while (match(rest, /\]\([^) ]*\)/)) {
        note_link(file, line, substr(rest, RSTART + 2, RLENGTH - 3))
        rest = substr(rest, RSTART + RLENGTH)
      }
      if (text ~ /(^|[^[A-Za-z])[Rr]ules? (K|D|[RW][0-9])/)
        fault(file ":" line, "a rule is named without a link to docs/protocol.md")
    }
    close(file)
  }

  # A name of a header in a comment, and what follows "rule " or "rules ": K, D, R1, R1-R3, K and D ...
  function read_code(file, text, line, rest, name) {
    while ((getline text < file) > 0) {
      line++
      rest = index(text, "//") ? substr(text, index(text, "//") + 2) : ""
      while (match(rest, /[a-z_]+\/[a-z_0-9\/]+\.[hi]pp/)) {
        named[substr(rest, RSTART, RLENGTH)] = file ":" line
        rest = substr(rest, RSTART + RLENGTH)
      }
      while (match(text, /[Rr]ules? (K|D|[RW][0-9])/)) {
        rest = substr(text, RSTART)
        text = substr(text, RSTART + RLENGTH)
        sub(/^[Rr]ules? /, "", rest)
        while (match(rest, /^(K|D|[RW][0-9]+)/)) {
          name = substr(rest, 1, RLENGTH)
          rest = substr(rest, RLENGTH + 1)
          cited[name] = file ":" line
          citations++
          if (!sub(/^(, | and | to |-)/, "", rest)) break
        }
      }
    }
    close(file)
  }

  { exists[$0] = 1 }
  /\.md$/ { read_markdown($0) }
  /\.(hpp|ipp|cpp|pml|py|sh)$/ { read_code($0) }

  END {
    for (i = 1; i <= link_count; i++) {
      where = link_file[i] ":" link_line[i]
      path = link_file[i]
      anchor = ""
      if (match(links[i], /#/)) anchor = substr(links[i], RSTART + 1)
      target = links[i]
      sub(/#.*/, "", target)
      if (target != "") {
        if (!sub(/[^\/]*$/, "", path)) path = ""
        path = path target
        while (sub(/[^\/.]+\/\.\.\//, "", path)) continue
        sub(/\/$/, "", path)
      }
      if (!(path in exists)) fault(where, "there is no " path)
      else if (anchor != "" && !((path "#" anchor) in anchors)) fault(where, path " has no #" anchor)
    }
    for (name in named)
      if (!(name in exists) && !(("include/coproc/" name) in exists) && !(("include/" name) in exists) &&
          !(("tests/" name) in exists))
        fault(named[name], "there is no " name)
    # Pages name tests without their ending: `process/cancel`, `fault/crash_points.fault`.
    for (name in named_tests) {
      path = "tests/" name
      folder = path
      sub(/\/[^\/]*$/, "", folder)
      if ((folder in exists) && !(path in exists) && !((path ".test.cpp") in exists) && !((path ".cpp") in exists) &&
          !((path ".pml") in exists))
        fault(named_tests[name], "there is no " path)
    }
    for (name in cited)
      if (!(("docs/protocol.md#" tolower(name)) in anchors))
        fault(cited[name], "docs/protocol.md does not define rule " name)
    if (link_count < 10 || citations < 10) fault(ENVIRON["PWD"], "few links or citations: wrong directory?")
    if (faults) exit 1
    printf "%d links, %d citations of rules, all defined\n", link_count, citations
  }
'
