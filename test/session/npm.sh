#!/bin/sh
# Installs the debug adapter for the tests, if it is missing, and prints the file to run with node.
# An installed one needs no network. It can be run repeatedly and concurrently.
set -eu

# The adapter and its dependencies, at fixed versions.
adapter=cdt-gdb-adapter@1.7.0
packages="$adapter @vscode/debugadapter@1.68.0 @vscode/debugprotocol@1.68.0 serialport@13.0.0"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/physgdb-test
home=$cache/npm/$adapter
mkdir -p "$cache/npm"
exec 9>"$cache/npm/lock"
flock 9

if [ ! -d "$home" ]; then
	echo "setup: installing $adapter" >&2
	new=$cache/npm/new # renamed when it is complete
	rm -rf "$new"
	mkdir "$new"
	# Its scripts only build bindings for serial ports and terminals.
	# Word splitting is intended: one argument per package.
	# shellcheck disable=SC2086
	npm install --prefix "$new" --ignore-scripts --no-package-lock --no-save --no-audit --no-fund --loglevel error $packages >&2
	mv "$new" "$home"
fi
echo "$home/node_modules/cdt-gdb-adapter/dist/debugTargetAdapter.js"
