# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Sourced: packages of any Debian suite. They come through an apt with its own lists, from the
# mirror that this machine uses, with signatures checked. They stay in the user's cache folder,
# for all clones, and none is installed.
#
#   suite_setup SUITE DIR, then suite_apt COMMAND [argument...] as often as needed;
#                                           with suite_types=deb-src for sources
#   suite_unpack NAME PACKAGE...            into build/tools/NAME, from sid, with dependencies;
#                                           with suite_alone=1 without
#   suite_libraries ROOT FILE...            the libraries that the files need
. "$(dirname "$0")/lib.sh"
downloads=${XDG_CACHE_HOME:-$HOME/.cache}/i915-context-reclaim
suite_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
suite_tools=$top/build/tools

# Holds the cache folder until downloads_unlock or the end of the script
downloads_lock() {
	mkdir -p "$downloads"
	exec 8>>"$downloads/lock"
	flock -n 8 || {
		say "waiting for the download of another checkout"
		flock 8
	}
}

downloads_unlock() {
	exec 8>&-
}

# An empty status file: apt resolves dependencies as if nothing was installed.
suite_apt() {
	local tool=$1

	shift
	"$tool" -q -o Dir::Etc::SourceList="$suite_dir/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::State::status="$suite_dir/status" \
		-o Dir::State::Lists="$suite_dir/lists" -o Dir::Cache="$suite_dir/cache" \
		-o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Retries=3 "$@"
}

# The machine's apt knows several archives. One of them has the suite.
suite_setup() {
	local mirror

	[ -f "$suite_keyring" ] || die "no $suite_keyring: install debian-archive-keyring"
	mkdir -p "$2/lists/partial" "$2/cache/archives/partial"
	suite_dir=$(realpath "$2")
	: > "$suite_dir/status"
	# shellcheck disable=SC2016 # for apt to expand
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		sort -u > "$suite_dir/mirrors"
	while read -r mirror; do
		echo "${suite_types:-deb} [signed-by=$suite_keyring] $mirror $1 main" \
			> "$suite_dir/sources.list"
		if suite_apt apt-get update > "$suite_dir/log" 2>&1 &&
		   ! grep -q '^[EW]:' "$suite_dir/log"; then
			return 0
		fi
	done < "$suite_dir/mirrors"
	tail -n 3 "$suite_dir/log" >&2
	die "no mirror in /etc/apt has $1: check the network and /etc/apt, then try again"
}

suite_unpack() {
	local cache=$downloads/$1 to=$suite_tools/$1 deb

	shift
	[ "$(cat "$to/packages" 2>/dev/null)" != "$*" ] || return 0
	downloads_lock
	# Another script may have unpacked them meanwhile.
	[ "$(cat "$to/packages" 2>/dev/null)" != "$*" ] || { downloads_unlock; return 0; }
	rm -rf "$to" "$to.tmp"
	mkdir -p "$to.tmp"
	if [ "$(cat "$cache/packages" 2>/dev/null)" != "$*" ]; then
		say "downloading $* from sid"
		suite_setup sid "$to.tmp/apt"
		if [ -n "${suite_alone:-}" ]; then
			(cd "$suite_dir/cache/archives" && suite_apt apt-get download "$@")
		else
			suite_apt apt-get -y --no-install-recommends --download-only install "$@"
		fi > "$suite_dir/log" 2>&1 || {
			tail -n 3 "$suite_dir/log" >&2
			die "the download failed: check the network and try again"
		}
		rm -rf "$cache"
		mkdir "$cache"
		mv "$suite_dir"/cache/archives/*.deb "$cache/"
		rm -rf "$to.tmp/apt"
		echo "$*" > "$cache/packages"
	fi
	for deb in "$cache"/*.deb; do
		dpkg-deb -x "$deb" "$to.tmp" || {
			rm -rf "$cache"
			die "${deb##*/} was damaged and all were removed: try again"
		}
	done
	cp "$cache/packages" "$to.tmp/"
	mv "$to.tmp" "$to"
	downloads_unlock
}

# What the loader of ROOT finds there, or else in the system; and libgcc_s, which glibc opens
# by itself for pthread_cancel()
suite_libraries() {
	local root loader libgcc folders file

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
