#!/bin/sh
# Runs every fuzz target of the repository, one after the other, for the time given as its argument.
set -eu
grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "--- $target ($(dirname "$file"))"
		go test "$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 100x </dev/null
	done
done
