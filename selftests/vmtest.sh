#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds a kernel with the mock i915 devices from this tree, boots it in QEMU
# and runs the i915 selftests, or one command, in the guest. No Intel GPU and
# nothing but the tree, a compiler with a static libc and QEMU are needed.

set -ue -o pipefail

# depmod is not in every user's PATH
PATH="$PATH:/usr/sbin:/sbin"

# A make that calls this means its flags and variables for itself.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

test_dir=$(realpath "$(dirname "$0")")
kernel_dir=$(realpath "$test_dir/../../../../../..")

build_dir="$kernel_dir/.i915-vmtest"
jobs=$(nproc)
accel=auto
smp=2
limit=900
log_dir=""
kernel_log=""
module=""
extra_root=""
fragments=()
excluded=" "
memory=1G
interactive=""
build=1
busybox=${BUSYBOX:-}
tmp_dir=""
qemu_pid=""

KSFT_FAIL=1
KSFT_SKIP=4

function usage() {
	cat <<EOF
usage: $0 [options] [command [argument...]]

Runs every i915 selftest in the guest, or the given command with the test
programs in its PATH. Exits with 0 if all is well, with 4 if something that it
takes to build or boot is missing, and with 1 if the build or a test fails, or is
skipped, as the guest has all that the tests need, or if the kernel warns or dies.

	-d dir		kernel build directory (default: .i915-vmtest in the tree)
	-j jobs		for make (default: the number of CPUs)
	-a accel	kvm, tcg, or auto: KVM if it boots this kernel (default),
			as it was found when the build directory was new; or icount:
			TCG with one CPU and a clock that counts its instructions, of
			which two runs need the same
	-b		boot what was built before
	-s cpus		of the guest (default: $smp)
	-t seconds	after which the guest is ended (default: $limit)
	-l dir		for the results and the kernel log of each boot (default: the
			build directory)
	-c config	options in addition to those that the tests need, such as
			debug.config
	-m size		memory of the guest (default: $memory)
	-x program	not to be run with the others
	-k i915.ko	a module to load in place of the one that was built, such
			as that of a tree to compare with
	-r dir		what is in it is added to the root of the guest, such as other
			tests
	-i		interactive: a shell in the guest, from a static busybox
			in PATH or named by \$BUSYBOX; if that is set, it is in
			every guest, for commands such as sh run_kselftest.sh
	-h		this help
EOF
}

function cleanup() {
	[ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
	[ -z "$tmp_dir" ] || rm -fr "$tmp_dir"
}

function say() {
	echo "# vmtest: $*" >&2
}

function fail() {
	say "$*"
	exit $KSFT_FAIL
}

function skip() {
	say "$*"
	exit $KSFT_SKIP
}

function need() {
	command -v "$1" >/dev/null || skip "no $1: install $2"
}

function kmake() {
	make -C "$kernel_dir" O="$build_dir" ARCH=x86_64 -j"$jobs" "$@"
}

function show_progress() {
	awk '/^  (AR|AS|CC|LD) / && ++n % 250 == 0 {
		print "# vmtest: " n " files built" > "/dev/stderr"
	}'
}

function build_kernel() {
	local fragment="$tmp_dir/config" opt

	cat "$test_dir/config" "$test_dir/vmtest.config" ${fragments[@]+"${fragments[@]}"} \
		> "$fragment"

	# Keep the time stamp of an unchanged config, so that nothing is rebuilt.
	mkdir -p "$build_dir"
	if ! cmp -s "$fragment" "$build_dir/vmtest.fragment" || [ ! -f "$build_dir/.config" ]; then
		say "configuring in $build_dir"
		kmake -s KCONFIG_ALLCONFIG="$fragment" allnoconfig >/dev/null ||
			fail "the kernel cannot be configured"
	fi
	rm -f "$build_dir/vmtest.fragment"
	kmake -s olddefconfig >/dev/null || fail "the kernel cannot be configured"

	while read -r opt; do
		[[ "$opt" != CONFIG_* ]] || grep -qxF "$opt" "$build_dir/.config" ||
			fail "$opt did not survive olddefconfig: see what ${opt%=*} depends on"
	done < "$fragment"
	cp "$fragment" "$build_dir/vmtest.fragment"

	say "building the kernel, $jobs jobs: minutes if it is the first time"
	kmake bzImage modules | show_progress || fail "the kernel does not build"
	kmake -s headers_install INSTALL_HDR_PATH="$build_dir/usr" >/dev/null ||
		fail "headers_install failed"
	rm -rf "$build_dir/installed"
	kmake -s modules_install INSTALL_MOD_PATH="$build_dir/installed" >/dev/null ||
		fail "modules_install failed"
}

function build_tests() {
	rm -rf "$build_dir/selftests"
	make -C "$kernel_dir/tools/testing/selftests" -s O="$build_dir" LDFLAGS=-static \
		TARGETS=drivers/gpu/i915 FORCE_TARGETS=1 \
		KSFT_INSTALL_PATH="$build_dir/selftests" install >/dev/null ||
		fail "the tests do not build (is there a static libc?)"
	[ "$build_dir/vmtest_init" -nt "$test_dir/vmtest_init.c" ] ||
		gcc -Wall -O2 -static -o "$build_dir/vmtest_init" "$test_dir/vmtest_init.c" ||
		fail "vmtest_init.c does not build (is there a static libc?)"
}

# i915.ko and the module of its KUnit suites, with what they need, in the order
# in which they load.
function list_modules() {
	local dir="$tmp_dir/install/lib/modules" name

	dir="$dir/$(ls "$dir")"
	for name in i915 i915_gem_context_tests; do
		grep "/$name\\.ko:" "$dir/modules.dep" | tr -d : | tr ' ' '\n' | tac |
			sed "s|^|$dir/|"
	done | awk '!seen[$0]++'
}

function make_initrd() {
	local list="$tmp_dir/cpio_list" file

	printf '%s\n' "$@" > "$tmp_dir/command"
	: > "$tmp_dir/modules"

	cat > "$list" <<EOF
dir /bin 0755 0 0
dir /dev 0755 0 0
dir /proc 0755 0 0
dir /sys 0755 0 0
dir /tmp 1777 0 0
dir /selftests 0755 0 0
nod /dev/console 0600 0 0 c 5 1
file /init $build_dir/vmtest_init 0755 0 0
file /command $tmp_dir/command 0644 0 0
file /modules $tmp_dir/modules 0644 0 0
EOF
	if grep -qx CONFIG_DRM_I915=m "$build_dir/.config"; then
		(cd "$tmp_dir/install" && find lib -type d | sort) |
			sed 's|.*|dir /& 0755 0 0|' >> "$list"
		# For programs that load modules by name
		find "$tmp_dir/install" -name 'modules.*' \
			-printf 'file /%P %p 0644 0 0\n' >> "$list"
		list_modules | while read -r file; do
			# A test loads the suites, which run as they load
			[[ "$file" == *_tests.ko ]] ||
				echo "${file#"$tmp_dir/install"}" >> "$tmp_dir/modules"
			[[ -z "$module" || "$file" != */i915.ko ]] ||
				cp "$module" "$file" || fail "cannot copy $module"
			echo "file ${file#"$tmp_dir/install"} $file 0644 0 0" >> "$list"
		done || exit $KSFT_FAIL
	fi
	find "$build_dir/selftests" -mindepth 1 \
		-type d -printf 'dir /selftests/%P 0755 0 0\n' -o \
		-type f -printf 'file /selftests/%P %p 0%m 0 0\n' >> "$list"
	if [ -n "$extra_root" ]; then
		# In the place of a directory with something in it, the kernel
		# drops a link without a word.
		find "$extra_root" -type l -printf '%P\n' | while read -r file; do
			! grep -qF "dir /$file " "$list" ||
				fail "/$file is a link in $extra_root, and a directory in the guest"
		done || exit $KSFT_FAIL
		find "$extra_root" -mindepth 1 \
			-type d -printf 'dir /%P 0%m 0 0\n' -o \
			-type l -printf 'slink /%P %l 0777 0 0\n' -o \
			-type f -printf 'file /%P %p 0%m 0 0\n' >> "$list"
	fi
	if [ -n "$busybox" ]; then
		echo "file /bin/busybox $busybox 0755 0 0" >> "$list"
		echo "slink /bin/sh busybox 0755 0 0" >> "$list"
	fi

	"$build_dir/usr/gen_init_cpio" "$list" > "$tmp_dir/initrd" ||
		fail "gen_init_cpio failed"
}

# KVM can be there and still not run a guest: boot the kernel up to its panic
# for want of a root file system, and be content with its banner.
function find_accel() {
	local log="$tmp_dir/probe.log"

	[ "$accel" = auto ] || return 0
	if [ -s "$build_dir/accel" ]; then
		accel=$(< "$build_dir/accel")
		return 0
	fi

	accel=tcg
	if [ -w /dev/kvm ]; then
		say "trying KVM for up to 10 seconds"
		# In a subshell, for bash not to report how QEMU died.
		( timeout -k 1 10 qemu-system-x86_64 -nodefaults -no-reboot -display none \
			-m 1G -serial "file:$log" -accel kvm -cpu host \
			-kernel "$kernel" -append "console=ttyS0 panic=-1" ||
			true ) </dev/null >/dev/null 2>&1
		! grep -q "Linux version" "$log" 2>/dev/null || accel=kvm
	fi
	say "using $accel"
	echo "$accel" > "$build_dir/accel"
}

# run_guest command [argument...]
function run_guest() {
	local accel_opts=(-accel "tcg,thread=multi") cpu=max signal=on stdin=/dev/null status=0

	case $accel in
	kvm)	accel_opts=(-accel kvm)
		cpu=host ;;
	icount)	accel_opts=(-accel "tcg,thread=single" -icount "shift=0,sleep=off"
			-seed 1 -rtc "base=2026-01-01,clock=vm") ;;
	esac
	if [ -n "$interactive" ]; then
		signal=off
		stdin=/dev/tty
	fi

	make_initrd "$@"
	kernel_log="$log_dir/${1##*/}.log"
	rm -f "$kernel_log" "$tmp_dir/output"

	# In the background, so that a signal ends it at once: see cleanup(). With
	# four levels of page tables: as the kernel identifies the boot CPU it forgets
	# for a moment that there are five, and KASAN reports an interrupt then.
	timeout --foreground -k 5 "$limit" \
		qemu-system-x86_64 -nodefaults -no-reboot -display none \
		"${accel_opts[@]}" -cpu "$cpu,la57=off" -smp "$smp,sockets=$smp" -m "$memory" \
		-serial "file:$kernel_log" \
		-chardev "stdio,id=test,signal=$signal,logfile=$tmp_dir/output" \
		-serial chardev:test \
		-kernel "$kernel" -initrd "$tmp_dir/initrd" \
		-append "console=ttyS0 panic=-1 panic_on_warn=1 oops=panic slab_nomerge" \
		<"$stdin" &
	qemu_pid=$!
	wait "$qemu_pid" || status=$?
	qemu_pid=""

	[ -n "$interactive" ] || [ ! -f "$tmp_dir/output" ] ||
		cp "$tmp_dir/output" "$log_dir/${1##*/}.tap"
	case $status in
	0)	;;
	124|137) say "the guest was ended after $limit seconds, -t gives it more" ;;
	*)	say "QEMU ended with $status" ;;
	esac
	check_log || return $KSFT_FAIL
	[ "$status" = 0 ] || return $KSFT_FAIL
	if grep -Eq '^(ok|1\.\.0) .*# SKIP' "$tmp_dir/output"; then
		say "a test was skipped, in a guest that has all it needs"
		return $KSFT_FAIL
	fi
	[ "$(guest_status)" = 0 ]
}

function guest_status() {
	sed -n 's/.*vmtest: exit status \([0-9]*\).*/\1/p' "$kernel_log" | tail -n 1
}

function check_log() {
	local splat='BUG:|WARNING:|Oops|KASAN:|KCSAN:|UBSAN:|Kernel panic|ODEBUG:'

	splat+='|INFO: (task|rcu|trying)|vmtest: kmemleak:'

	if [ ! -s "$kernel_log" ]; then
		say "the guest printed nothing (accelerator $accel: try -a tcg)"
		return 1
	fi
	if grep -Eq "$splat" "$kernel_log"; then
		grep -E -m1 -A40 "$splat" "$kernel_log" >&2
		say "the kernel complained: $kernel_log"
		return 1
	fi
	if [ -z "$(guest_status)" ]; then
		tail -n 20 "$kernel_log" >&2
		say "the guest ended before the test did: $kernel_log"
		return 1
	fi
}

function list_programs() {
	sed -n 's/^TEST_GEN_PROGS .*=//p' "$test_dir/Makefile"
}

function run_all() {
	local prog status result=0

	for prog in $(list_programs); do
		[[ "$excluded" != *" $prog "* ]] || continue
		status=0
		echo "# selftests: drivers/gpu/i915: $prog"
		run_guest "$prog" || status=$?
		say "$prog ended with $status"
		[ "$status" = 0 ] || result=$KSFT_FAIL
	done

	return $result
}

function main() {
	local opt

	while getopts 'hd:j:a:bs:t:l:k:c:m:x:r:i' opt; do
		case $opt in
		d)	build_dir="$OPTARG" ;;
		j)	jobs="$OPTARG" ;;
		a)	accel="$OPTARG" ;;
		b)	build="" ;;
		s)	smp="$OPTARG" ;;
		t)	limit="$OPTARG" ;;
		l)	log_dir="$OPTARG" ;;
		k)	module="$OPTARG" ;;
		c)	[ -r "$OPTARG" ] || fail "-c $OPTARG: no such file"
			fragments+=("$(realpath "$OPTARG")") ;;
		m)	memory="$OPTARG" ;;
		x)	list_programs | grep -qw -- "$OPTARG" || fail "-x $OPTARG: no such program"
			excluded+="$OPTARG " ;;
		r)	[ -d "$OPTARG" ] || fail "-r $OPTARG: no such folder"
			extra_root=$(realpath "$OPTARG") ;;
		i)	interactive=1 ;;
		h)	usage
			exit 0 ;;
		*)	usage >&2
			exit $KSFT_FAIL ;;
		esac
	done
	shift $((OPTIND - 1))

	case $accel in
	auto|kvm|tcg) ;;
	icount)	smp=1 ;;
	*)	fail "-a $accel: the accelerators are kvm, tcg, icount and auto" ;;
	esac

	[ -z "$module" ] || [ -r "$module" ] || fail "-k $module: no such file"

	need qemu-system-x86_64 "QEMU for x86 (qemu-system-x86)"
	need gcc "gcc"
	need make "GNU make"
	need rsync "rsync, for headers_install"
	need depmod "kmod"
	need flex "flex"
	need bison "bison"
	need bc "bc"
	[ -z "$busybox" ] || [ -x "$busybox" ] || fail "$busybox: no such program"
	if [ -n "$interactive" ]; then
		busybox=${busybox:-$(command -v busybox || true)}
		[ -n "$busybox" ] || skip "no busybox: install busybox-static or set \$BUSYBOX"
		limit=86400
		[ $# -gt 0 ] || set -- sh
	fi

	build_dir=$(realpath -m "$build_dir")
	log_dir=$(realpath -m "${log_dir:-$build_dir}")
	kernel="$build_dir/arch/x86/boot/bzImage"
	[[ "$build_dir$log_dir${TMPDIR:-}$busybox$extra_root" != *[[:space:],]* ]] ||
		fail "no blanks and commas in what -d, -l, -r, TMPDIR and BUSYBOX name, please"
	mkdir -p "$build_dir" "$log_dir"

	tmp_dir=$(mktemp -d "${TMPDIR:-/tmp}/i915-vmtest.XXXXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	if [ -n "$build" ]; then
		build_kernel
		build_tests
	fi
	if [ ! -f "$kernel" ] || [ ! -d "$build_dir/installed" ]; then
		fail "-b: nothing was built in $build_dir"
	fi
	# A copy, as -k puts another module in
	cp -r "$build_dir/installed" "$tmp_dir/install"
	find_accel

	if [ $# -gt 0 ]; then
		run_guest "$@"
	else
		run_all
	fi
}

main "$@"
