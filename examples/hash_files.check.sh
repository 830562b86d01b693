#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# Compares hash_files with sha512sum on a generated tree: sh examples/hash_files.check.sh PATH_TO_HASH_FILES
# Odd names, every size around a chunk, things that are no files, files and directories that cannot be read.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 PATH_TO_HASH_FILES" >&2; exit 2; }
hash_files=$(realpath "$1")
export LC_ALL=C
work=$(mktemp -d)
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT
tree=$work/tree
mkdir "$tree"

fail() { echo "hash_files.check: $*" >&2; exit 1; }

# expect STATUS WHAT ARGUMENTS...: output equals sha512sum's, the exit status is STATUS.
expect() {
  status=$1 what=$2
  shift 2
  find "$tree" -type f -print0 2>/dev/null | sort -z | xargs -0 -r sha512sum >"$work/expected" 2>/dev/null || true
  got=0
  "$hash_files" "$@" >"$work/output" 2>"$work/errors" || got=$?
  [ "$got" -eq "$status" ] || { cat "$work/errors" >&2; fail "$what: exit status $got, not $status"; }
  diff "$work/expected" "$work/output" >&2 || fail "$what: output differs from sha512sum's"
}

expect 0 "empty directory" "$tree"

for bytes in 0 1 2 55 111 112 127 128 4095 4096 1048575 1048576 1048577 2097152 3145729 9437184; do
  head -c "$bytes" /dev/urandom >"$tree/$bytes.bin"
done
mkdir -p "$tree/a/b/c" "$tree/a-b" "$tree/a.d/deep/er" "$tree/empty"
for name in a/x a/b/x a/b/c/x a-b/x a.d/deep/er/x 'with space' ' ' '*' '$HOME' "it's" '"quoted"' '-n' 'back\slash' 'tail\'; do
  echo "contents of $name" >"$tree/$name"
done
newline='
'
echo newline >"$tree/new${newline}line"
echo both >"$tree/back\\and${newline}new"
printf 'utf-8' >"$tree/$(printf 'h\303\251')"
printf 'not utf-8' >"$tree/$(printf 'h\351')"
ln -s 1.bin "$tree/link to file"
ln -s a "$tree/link to directory"
ln -s nowhere "$tree/dangling"
mkfifo "$tree/fifo"
i=0
while [ $i -lt 2000 ]; do echo $i >"$tree/a/b/$i"; i=$((i + 1)); done

expect 0 "many files" "$tree"
expect 0 "one worker" "$tree" --workers 1
expect 0 "five workers" "$tree" --workers 5
grep -q ' MB/s with 5 workers$' "$work/errors" || fail "no totals on stderr"
[ "$(wc -l <"$work/errors")" -eq 1 ] || fail "more than the totals on stderr when it is no terminal"

if [ "$(id -u)" -ne 0 ]; then
  echo secret >"$tree/a/unreadable"
  mkdir "$tree/a/locked"
  echo secret >"$tree/a/locked/x"
  chmod 000 "$tree/a/unreadable" "$tree/a/locked"
  expect 1 "unreadable file and directory" "$tree"
  [ "$(grep -c '^hash_files: .*: Permission denied$' "$work/errors")" -eq 2 ] || fail "two error lines expected"
fi

"$hash_files" "$work/nowhere" >/dev/null 2>"$work/errors" && fail "a directory that does not exist"
grep -q '^hash_files: .*nowhere: No such file or directory$' "$work/errors" || fail "no error line for it"
for arguments in "" "$tree --workers" "$tree --workers 0" "$tree --workers x" "$tree --threads 2"; do
  status=0
  "$hash_files" $arguments >/dev/null 2>&1 || status=$?
  [ "$status" -eq 2 ] || fail "usage: exit status $status for '$arguments'"
done
if [ -w /dev/full ]; then
  "$hash_files" "$tree" >/dev/full 2>/dev/null && fail "a full output device goes unnoticed"
fi
echo "hash_files.check: identical to sha512sum"
