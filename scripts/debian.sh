# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Sourced: programs that Debian packages in sid, for the root of a guest. They are
# downloaded once with all that they depend on, and installed nowhere.
#
# debian_unpack NAME MEGABYTES PACKAGE..., then debian_libraries for what is run of it

# shellcheck source=scripts/suite.sh
. scripts/suite.sh

debian_fail() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# As apt resolves it where nothing is installed
debian_download() {
	local cache=$1 apt=$2

	shift 2
	mkdir -p "$apt" "$cache.tmp/partial"
	apt=$(realpath "$apt")
	: > "$apt/status"
	suite_setup sid "$apt" || exit 1
	suite_apt apt-get -o Dir::State::status="$apt/status" \
		-o Dir::Cache::archives="$cache.tmp" -y --no-install-recommends \
		--download-only install "$@" > "$apt/log" 2>&1 || {
		tail -n 3 "$apt/log" >&2
		debian_fail "the download failed: check the network and try again"
	}
	rm -rf "$cache.tmp/partial" "$cache.tmp/lock" "$cache"
	echo "$*" > "$cache.tmp/packages"
	mv "$cache.tmp" "$cache"
}

# Unpacks the packages to build/tools/NAME unless they are there. MEGABYTES is what the
# download takes.
debian_unpack() {
	local name=$1 megabytes=$2 deb
	local cache=$downloads/$name unpacked=build/tools/$name

	shift 2
	[ "$(cat "$unpacked/packages" 2>/dev/null)" != "$*" ] || return 0
	rm -rf "$unpacked.tmp"
	mkdir -p "$unpacked.tmp/files"
	downloads_lock
	if [ "$(cat "$cache/packages" 2>/dev/null)" != "$*" ]; then
		echo "${0##*/}: downloading $* from sid, $megabytes MB with what they need" >&2
		debian_download "$cache" "$unpacked.tmp/apt" "$@"
	fi
	downloads_unlock
	echo "${0##*/}: unpacking $*" >&2
	for deb in "$cache"/*.deb; do
		dpkg-deb -x "$deb" "$unpacked.tmp/files" || {
			rm -rf "$cache"
			debian_fail "${deb##*/} was damaged and all have been removed: try again"
		}
	done
	cp "$cache/packages" "$unpacked.tmp/files/"
	rm -rf "$unpacked"
	mv "$unpacked.tmp/files" "$unpacked"
	rm -rf "$unpacked.tmp"
}

# debian_libraries ROOT FILE...: what the loader of ROOT finds there, or else in the
# system, for each file, by its whole name; and libgcc_s, which glibc opens by itself for
# pthread_cancel()
debian_libraries() {
	local root loader folders file libgcc

	root=$(realpath "$1")
	shift
	loader=$(find "$root" -name ld-linux-x86-64.so.2 | head -n 1)
	loader=${loader:-/lib64/ld-linux-x86-64.so.2}
	libgcc=$(find "$root" -name libgcc_s.so.1 | head -n 1)
	libgcc=${libgcc:-$(gcc -print-file-name=libgcc_s.so.1)}
	folders=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
	for file in "$@"; do
		"$loader" --library-path "$folders" --list "$file" | sed -n 's/.* => \(.*\) (0x.*/\1/p'
	done | sort -u - <(printf '%s\n' "$loader" "$libgcc")
}
