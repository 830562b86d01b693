#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Checks the models: every row of the tables in README.md is one exhaustive run of spin, and "holds" or "fails" is what
# it must find. A switch that a model knows and the tables do not is an error. Runs two jobs at a time in a temporary
# directory, prints a table, exits with 0 (as expected), 1 (a surprise) or 77 (no spin here).
#
#   check.sh [model...]                          all models, or those named
#   LANES=1 check.sh drainer                     one job at a time
#   PAN_FLAGS=-DNOREDUCE check.sh drainer        extra flags for the compiler of the generated checker
set -u

here=$(cd "$(dirname "$0")" && pwd) || exit 1
spin=${SPIN:-spin}
cc=${CC:-cc}
depth=10000
# For what is found early, or small: compiling costs more than searching, unless tcc does it.
quick_cc="$cc -O0"
if command -v tcc >/dev/null 2>&1; then quick_cc=tcc; fi
for tool in "$spin" "$cc"; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "skipped: $tool is not installed (the models need spin and a C compiler: apt install spin gcc)"
    exit 77
  fi
done

work=$(mktemp -d "${TMPDIR:-/tmp}/coproc-model.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The rows "| model | switches | holds or fails | ..." become "model expected switch...", the longest runs first.
awk -F'|' -v only=" $* " '
  { gsub(/[ `]/, "", $2); gsub(/[ `]/, "", $4); gsub(/`/, "", $3) }
  $4 != "holds" && $4 != "fails" { next }
  only !~ /^ *$/ && index(only, " " $2 " ") == 0 { next }
  { $3 = ($3 ~ /-D/) ? $3 : ""; line = $2 " " $4 " " $3; gsub(/ +/, " ", line); sub(/ $/, "", line) }
  $4 == "holds" { print line; next }
  { later[++n] = line }
  END { for (i = 1; i <= n; i++) print later[i] }' "$here/README.md" >"$work/jobs"

surprises=0
surprise() {
  echo "SURPRISE: $*"
  surprises=$((surprises + 1))
}

# shellcheck disable=SC2046 # no blanks in the names
[ $# -gt 0 ] || set -- $(cd "$here" && for file in *.pml; do [ "$file" = common.pml ] || echo "${file%.pml}"; done)
for model in "$@"; do
  [ -f "$here/$model.pml" ] || { echo "no such model: $model"; exit 1; }
  grep -q "^$model holds" "$work/jobs" || surprise "$model is not in the table"
  sed -n 's/^#ifn\{0,1\}def //p; s/^#.*defined(\([A-Z_]*\)).*/\1/p' "$here/$model.pml" | sort -u >"$work/switches"
  while read -r switch; do
    grep -q "^$model .*-D$switch\$" "$work/jobs" || surprise "$model.pml knows $switch, the table does not"
  done <"$work/switches"
done

# run_job <number> <model> <expected> <switch>...: writes one line of the table, the first word being ok or SURPRISE.
run_job() {
  number=$1 model=$2 expected=$3
  shift 3
  compile=$quick_cc
  table=-w20 # slots of the hash table, as a power of two: not to zero more than there are states to fill it
  case "$expected $model $*" in
  "holds flush "* | "holds kill "* | "holds mutex "* | "holds delivery -DONE_THREAD") ;;
  holds*)
    compile="$cc -Og" # searches nearly as fast as -O2, and compiles in a third of the time
    table=-w24
    ;;
  esac
  cp "$here"/*.pml .
  flags="-w -DSAFETY -DMEMLIM=4000 ${PAN_FLAGS:-} -o pan pan.c"
  for switch in "$@"; do
    case $switch in *REVERSE) flags="$switch $flags" ;; esac
  done
  # shellcheck disable=SC2086 # several flags
  if ! { "$spin" "$@" -a "$model.pml" && { $compile $flags || $cc -O0 $flags; }; } >build 2>&1; then
    printf 'SURPRISE %-12s %-40s does not build\n' "$model" "$*"
    cat build
    return
  fi
  ./pan "-m$depth" "$table" >out 2>&1

  states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' out)
  reached=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' out)
  found=$(sed -n 's/^pan:1: \(.*\) (at depth [0-9]*)$/\1/p' out | tr -s ' ')
  if grep -q 'errors: 0$' out && ! grep -Eq 'not completed|too small|out of memory|MEMLIM' out; then
    verdict=holds
  elif [ -n "$found" ] && grep -q 'errors: 1$' out; then
    verdict=fails
  else
    verdict=unclear
  fi
  outcome=SURPRISE
  [ "$verdict" = "$expected" ] && outcome=ok
  printf '%-8s %-12s %-40s %-7s %9s states  depth %4s  %.60s\n' "$outcome" "$model" "$*" "$verdict" "${states:--}" \
    "${reached:--}" "$found"
  [ "$verdict" = unclear ] && cat out
}

# A lane takes the next job that no other lane has taken: mkdir succeeds once.
lane() {
  number=0
  while read -r job; do
    number=$((number + 1))
    mkdir "$work/$number" 2>/dev/null || continue
    # shellcheck disable=SC2086 # the words of a job are its arguments
    (cd "$work/$number" && run_job "$number" $job >line && rm -f pan pan.* ./*.pml)
  done <"$work/jobs"
}

for _ in $(seq "${LANES:-2}"); do
  lane &
done
wait

number=0
while read -r job; do
  number=$((number + 1))
  cat "$work/$number/line" 2>/dev/null || echo "SURPRISE $job did not run"
done <"$work/jobs" >"$work/table"
cat "$work/table"
surprises=$((surprises + $(grep -c '^SURPRISE' "$work/table")))
echo "$number runs, $surprises surprises"
[ "$number" -gt 0 ] && [ "$surprises" -eq 0 ]
