#!/bin/sh
# Installs the debug adapter that tests run, as far as it is missing, and prints the file to run
# with node. Once it is there, no network is needed. Safe to run again and again, and at the same
# time.
set -eu

# The adapter and what it depends on, so that it stays what it is.
adapter=cdt-gdb-adapter@1.7.0
packages="$adapter @vscode/debugadapter@1.68.0 @vscode/debugprotocol@1.68.0 serialport@13.0.0"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/physgdb-test
home=$cache/npm/$adapter
mkdir -p "$cache/npm"
exec 9>"$cache/npm/lock"
flock 9

if [ ! -d "$home" ]; then
	echo "setup: installing $adapter" >&2
	new=$cache/npm/new # a directory appears under its name at once and whole
	rm -rf "$new"
	mkdir "$new"
	# Its scripts only build what opens serial ports and terminals.
	# Word splitting is meant: one argument per package.
	# shellcheck disable=SC2086
	npm install --prefix "$new" --ignore-scripts --no-package-lock --no-save --no-audit --no-fund --loglevel error $packages >&2
	mv "$new" "$home"
fi
echo "$home/node_modules/cdt-gdb-adapter/dist/debugTargetAdapter.js"
