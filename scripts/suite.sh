# shellcheck shell=sh
# Sourced: packages of another Debian suite, downloaded through an apt of their
# own, signatures checked, from the mirror this machine already uses. What the
# system has installed, and its own apt lists, are not touched.
#
# suite_setup SUITE DIR, then suite_apt COMMAND [argument...] as often as needed;
# with suite_types=deb-src for sources

suite_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# All checkouts of a user share what was downloaded.
downloads=${XDG_CACHE_HOME:-$HOME/.cache}/i915-context-reclaim

# Who looks for something there and downloads it if it is missing has the folder
# for itself, until downloads_unlock or its end.
downloads_lock() {
	mkdir -p "$downloads"
	exec 8>>"$downloads/lock"
	flock -n 8 || {
		echo "waiting for the download of another checkout" >&2
		flock 8
	}
}

downloads_unlock() {
	exec 8>&-
}

suite_apt() {
	suite_tool=$1
	shift
	"$suite_tool" -q -o Dir::Etc::SourceList="$suite_dir/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$suite_dir/lists" -o Dir::Cache="$suite_dir/cache" \
		-o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Retries=3 "$@"
}

suite_setup() {
	suite_dir=$2
	mkdir -p "$suite_dir/lists/partial" "$suite_dir/cache/archives/partial"

	[ -f "$suite_keyring" ] || {
		echo "no $suite_keyring: install debian-archive-keyring" >&2
		return 1
	}

	# Every archive that apt knows; one of them carries the suite.
	# shellcheck disable=SC2016 # for apt to expand
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		sort -u > "$suite_dir/mirrors"
	while read -r suite_mirror; do
		echo "${suite_types:-deb} [signed-by=$suite_keyring] $suite_mirror $1 main" \
			> "$suite_dir/sources.list"
		if suite_apt apt-get update >"$suite_dir/log" 2>&1 &&
		   ! grep -q '^[EW]:' "$suite_dir/log"; then
			return 0
		fi
	done < "$suite_dir/mirrors"

	tail -n 3 "$suite_dir/log" >&2
	echo "none of apt's mirrors answers with $1: check the network and /etc/apt, then try again" >&2
	return 1
}

# suite_download FOLDER PACKAGE...: says every ten seconds how far it has come
suite_download() {
	suite_into=$1
	suite_status=0
	shift

	mkdir -p "$suite_into"
	(
		n=0
		while sleep 1 && [ -d "$suite_into" ]; do
			n=$((n + 1))
			[ $((n % 10)) != 0 ] || echo "$(du -sm "$suite_into" | cut -f1) MB so far"
		done
	) >&2 8>&- &
	suite_pid=$!
	(cd "$suite_into" && suite_apt apt-get download "$@") >"$suite_dir/log" 2>&1 || {
		suite_status=1
		tail -n 3 "$suite_dir/log" >&2
	}
	kill "$suite_pid" 2>/dev/null || true
	return "$suite_status"
}
