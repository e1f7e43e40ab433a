# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154 # the variables are those of scripts/check
# The parts of scripts/check that compile or read the code. $src, $work, $results,
# new_at_end and others are its.

kernel_doc() {
	(cd "$src" && touched "$1" | xargs -r scripts/kernel-doc -v -none -Wall)
}

check_kernel_doc() {
	new_at_end kernel_doc kernel_doc
}

# What is wanted of the kernel, but for what CONFIG changes
configure() {
	local fragment=$work/$config/fragment

	mkdir -p "$work/$config"
	git_src show "whole:$kselftests/config" | cat - configs/vmtest.config > "$fragment"
	case $config in
	builtin)	echo DRM_I915=y DRM_I915_KUNIT_TEST=y KUNIT=y ;;
	no-selftest)	echo DRM_I915_SELFTEST=n ;;
	no-kunit)	echo KUNIT=n DRM_I915_KUNIT_TEST=n KUNIT_{AUTORUN_ENABLED,DEBUGFS,DEFAULT_ENABLED}=n ;;
	esac | tr ' ' '\n' | sed 's/^/CONFIG_/' >> "$fragment"
	kmake -s KCONFIG_ALLCONFIG="$fragment" allnoconfig >/dev/null 2>&1
}

kmake() {
	make -C "$src" O="$work/$config" ARCH=x86_64 -j"$(nproc)" "$@"
}

# objects COMMIT: those of the touched files, some of which another file includes
objects() {
	local file users

	git_src grep -o '^#include ".*\.c"' "$1" -- drivers/gpu/drm/i915 > "$work/includes"
	touched "$1" | grep '\.c$' | while read -r file; do
		users=$(sed -n "s,^$1:\(.*\):#include \"\(.*/\)\?${file##*/}\"$,\1,p" "$work/includes")
		for file in ${users:-$file}; do
			echo "${file%.c}.o"
		done
	done | sort -u
}

# build COMMIT: of the driver what the patches touch, the whole at the end and with FULL=1;
# and the kselftests if it changes them. A warning is an error.
build() {
	local what changed=

	[ "$1" = start ] || changed=$(git_src diff --name-only "$1~" "$1")
	git_src checkout -q -f --detach "$1" || return 1
	if [ "$1" = start ] || grep -q Kconfig <<< "$changed"; then
		configure || return 1
	fi
	what=$(objects "$1")
	if [ -n "${FULL:-}" ] || [ "$1" = "$end" ]; then
		what=$(git_src diff --name-only start topic | grep -oE '^drivers/gpu/drm/(i915|ttm)/' | sort -u)
	elif [ "$config" = no-kunit ]; then
		# A file that is asked for by name is built without its symbol in Kconfig.
		what=$(grep -v /tests/ <<< "$what")
	fi
	# shellcheck disable=SC2086 # words
	[ -z "$what" ] || kmake W=1e $what || return 1
	{ [ "$1" != start ] && grep -q "^$kselftests/" <<< "$changed"; } || return 0
	rm -rf "$work/kselftests"
	mkdir "$work/kselftests"
	kmake -s headers &&
		make -s -C "$src/$kselftests" OUTPUT="$work/kselftests" LDFLAGS="-static -Werror" \
			KHDR_INCLUDES="-Werror -isystem $work/$config/usr/include" all
}

check_build() {
	local config commit end status log=$results/build.log

	end=$(git_src rev-parse topic)
	for config in module ${FULL:+builtin no-selftest no-kunit}; do
		for commit in start $(git_src rev-list --reverse start..topic); do
			build "$commit" > "$log" 2>&1
			status=$?
			[ "$status" = 0 ] || grep -E 'error:|warning:|Error' "$log"
			result "$status" "W=1 build, $config, $(git_src log -1 --format=%f "$commit")"
		done
	done
}

# The sparse of Debian 12 and 13 does not pass the kernel's scripts/checker-valid.sh: sid's,
# with sid's libc
sparse() {
	local config=module dir=$suite_tools/sparse loader

	suite_alone=1 suite_unpack sparse sparse libc6
	loader=$(find "$dir" -name ld-linux-x86-64.so.2 | head -n 1)
	# shellcheck disable=SC2046 # words
	configure && kmake C=2 $(objects "$1") \
		CHECK="$loader --library-path $dir/usr/lib/x86_64-linux-gnu $dir/usr/bin/sparse"
}

check_sparse() {
	new_at_end sparse sparse
	grep -q '^  CHECK ' "$results/sparse-topic.log"
	result $? "sparse works"
}

# The few scripts that cannot report, or want an OCaml compiler, find nothing. Of "start",
# which is second, only those run that found something in "topic".
coccinelle() {
	local files

	files=$(touched "$1" | tr '\n' ' ')
	[ "$1" = start ] || (cd "$src" && printf '%s\n' scripts/coccinelle/*/*.cocci) > "$work/start.cocci"
	cp "$work/start.cocci" "$work/cocci"
	: > "$work/start.cocci"
	spatch --version
	(cd "$src" && xargs -a "$work/cocci" -P "$(nproc)" -I{} sh -c "
		out=\$(spatch -D report --very-quiet --no-show-diff \$(sed -n 's/.*Options: *//p' {}) \
			--cocci-file {} $files)
		[ -z \"\$out\" ] || { echo \"\$out\"; echo {} >> '$work/start.cocci'; }")
}

check_coccinelle() {
	new_at_end coccinelle coccinelle
}

# The tests of a topic that has some: KUnit, kselftests, and the driver's own selftests if
# their mocks change.
check_tests() {
	local program programs whole

	changed() {
		git_src diff --name-only start topic | grep -E "$1"
	}
	git_src checkout -q -f --detach topic
	if changed "^$tests/" > /dev/null; then
		scripts/kunit "$src" "$work/kunit" "$results" > "$results/kunit.txt" 2>&1
		result $? "KUnit, see kunit.txt"
	fi
	programs=$(changed "^$kselftests/(context|device)_.*\.c$" | sed 's,.*/\(.*\)\.c,\1,')
	[ -n "$programs" ] || changed mock_ > /dev/null || return 0
	# Without the kselftests, their config is that of the whole series.
	whole=$src
	[ -e "$src/$kselftests/config" ] || whole=$tree
	scripts/kernel "$src" "$work/vm" "$whole" configs/vmtest.config > "$results/kernel.txt" 2>&1 || {
		tail -n 5 "$results/kernel.txt"
		result 1 "the kernel for the tests"
		return
	}
	for program in $programs; do
		scripts/vmtest "$work/vm" "$results" "$program" > "$results/$program.txt" 2>&1
		result $? "kselftest $program, see $program.txt"
	done
	scripts/vmtest -p mock_selftests=-1 "$work/vm" "$results" true > "$results/mock.txt" 2>&1
	result $? "mock selftests"
}
