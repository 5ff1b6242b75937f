#!/bin/sh
# Installs the missing Debian packages for the tests; with the argument demo, those for the demo;
# with the argument custom, also those for building the kernels of test/guest/custom. It can be run
# repeatedly.
set -eu

# qemu: the guest. gdb: the client under test. gcc-12, libc6-dev, make, libelf1, libssl3: kernel
# modules, the programs of Debian's kbuild, and the guest's programs in C. xz: 6.12's drivers.
packages="qemu-system-x86 gdb xz-utils gcc-12 libc6-dev make libelf1 libssl3"
if [ "${1:-}" != demo ]; then
	# gcc, binutils: programs for tests. gdbserver: for comparison in benchmarks. crash: another
	# reader of dead kernels, for comparison. elfutils, llvm: programs that check the ELF and DWARF
	# of physgdb. lldb: another debugger, with its debug adapter. node: runs the debug adapter for
	# gdb; any installed one is used.
	packages="$packages gcc binutils gdbserver crash elfutils llvm lldb-14"
	command -v node >/dev/null || packages="$packages nodejs"
	command -v npm >/dev/null || packages="$packages npm"
fi
if [ "${1:-}" = custom ]; then
	# Programs of a kernel's build. dwarves: BTF. clang, lld, llvm: kernels built by clang.
	packages="$packages flex bison bc kmod cpio libelf-dev libssl-dev dwarves clang-16 lld-16 llvm-16"
fi

missing=
for package in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "setup: not root and no sudo; as root run: apt-get install --no-install-recommends$missing" >&2
		exit 1
	fi
	as_root=sudo
fi

install_missing() {
	# Word splitting is intended: one argument per package.
	# shellcheck disable=SC2086
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >&2
}

echo "setup: installing$missing" >&2
if ! install_missing; then
	echo "setup: retrying with new package lists" >&2
	$as_root apt-get update -qq >&2
	install_missing
fi
