# SPDX-License-Identifier: GPL-2.0-only
# A table of contents: `make help' prints the lines that begin with two #. Each target is a script
# in scripts/, whose first lines say what it does. Everything is built below build/, which can be
# deleted at any time. Downloads and the compiler cache are in the user's cache folder.

## usage: make TARGET [VARIABLE=value...]
##
## LINUX=dir     your git tree in place of Debian's kernel: its HEAD, not written to
## BEFORE=1      boot the commit before the redesign, BEFORE=base the kernel without the series
## KERNEL=debug  boot a kernel with KASAN, lockdep and more; kcsan: with KCSAN
## GEN=12        graphics version of the modelled GPU: 9, 11 or 12
## ACCEL=auto    kvm, tcg, or auto: KVM if it works     SMP=2   CPUs of the guest
## QEMU=file     your QEMU that has the device intel-gpu
## LLVM=1        build the kernel with clang
LINUX	?=
BEFORE	?=
KERNEL	?=
export GEN ?= 12
export ACCEL ?= auto
export SMP ?= 2
export KERNEL LLVM QEMU TESTS SEED REPLAY GENS FULL TOPIC SIGNOFF

ifeq ($(filter 9 11 12,$(GEN)),)
$(error GEN=$(GEN): the model knows the graphics versions 9, 11 and 12)
endif

# A folder for each kernel that the series is applied to, in it the git tree and a build folder
# for each configuration. Those of BEFORE= have a folder that looks the same, for ccache.
LINUX_PATH := $(if $(LINUX),$(shell realpath -ms '$(LINUX)'))
NAME	:= $(if $(LINUX),$(shell basename '$(LINUX_PATH)' | tr -c 'A-Za-z0-9._\n-' _)-$(firstword \
	   $(shell echo '$(LINUX_PATH)' | cksum)),linux-7.3)
WORK	:= $(CURDIR)/build/$(NAME)
TREE	:= $(WORK)/linux
RESULTS	:= $(CURDIR)/build/results$(if $(BEFORE),/before)$(if $(filter-out 12,$(GEN)),/gen$(GEN))$(if \
	   $(KERNEL),/$(KERNEL))
WHEN	:= $(if $(BEFORE),$(if $(filter base,$(BEFORE)),base,before))
BOOTED	:= $(WORK)$(WHEN:%=/%)/linux
CLANG	:= $(if $(LLVM),-llvm)
VM	:= $(WORK)$(WHEN:%=/%)/vm$(if $(KERNEL),-$(KERNEL))$(CLANG)
REPORT	:= scripts/junit '$(TREE)'

# The base folder lets clones share the compiler cache. In depend mode, what is not in the cache
# costs no extra run of the preprocessor. ccache finds gcc in the PATH of the outermost make.
ifndef CCACHE_PATH
export CCACHE_PATH := $(if $(filter 1,$(LLVM)),/usr/lib/llvm-19/bin:)$(PATH)
endif
# LLVM=1 is that of Debian, whose version drm/ci has, too.
export PATH := $(CURDIR)/scripts/ccache:$(if $(filter 1,$(LLVM)),/usr/lib/llvm-19/bin:)$(PATH)
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_DEPEND := 1
export CCACHE_NOHASHDIR := 1

SHELL	:= /bin/bash
.SHELLFLAGS := -eo pipefail -c

TRY	:= run shell
TEST	:= test kunit kselftest model-test igt live-selftests clients spin mutants fuzz coverage bench
SEND	:= check docs mbox apply-matrix stable
MAINTAIN := tree refresh vm qemu clean
.PHONY: help deps $(TRY) $(TEST) $(SEND) $(MAINTAIN)

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

# One target at a time writes to build/: make runs again, under the lock.
ifndef HOLDS_LOCK
.NOTPARALLEL:
$(TRY) $(TEST) $(SEND) $(MAINTAIN):
	@HOLDS_LOCK=1 scripts/lock '$@' $(MAKE) --no-print-directory '$@'
else

##
## Try
##
## run           spam contexts on a modelled GPU: COUNT=10000 in each run, from THREADS=2 in each
##               of PROCS=2 processes
COUNT	?= 10000
THREADS	?= 2
PROCS	?= 2
run: vm
	@scripts/run '$(VM)' '$(RESULTS)' -n '$(COUNT)' -t '$(THREADS)' -p '$(PROCS)'

## shell         a shell in the guest, with the kselftests in PATH
shell: vm
	@scripts/vmtest -i '$(VM)' '$(RESULTS)' sh

##
## Test
##
## test          check, spin, kunit, kselftest, model-test, igt and live-selftests, or some of them:
##               PHASES="spin kunit"; PHASES=debug is kselftest KERNEL=debug
test: tree
	@scripts/test '$(TREE)' '$(RESULTS)' $(PHASES)

## kunit         the KUnit suites; KASAN=1 under KASAN
KUNIT	:= $(if $(KASAN),-kasan)
kunit: tree
	@mkdir -p '$(RESULTS)'
	@status=0; scripts/kunit '$(TREE)' '$(WORK)/kunit$(KUNIT)$(CLANG)' '$(RESULTS)$(KUNIT:-%=/%)' \
		$(if $(KASAN),--kunitconfig=drivers/gpu/drm/i915/gem/tests/kasan.config) | \
		tee '$(RESULTS)/kunit$(KUNIT).txt' || status=1; \
	$(REPORT) '$(RESULTS)$(KUNIT:-%=/%)/kunit' '$(RESULTS)$(KUNIT:-%=/%)/kunit.log' && exit $$status

## kselftest     the kselftests in a guest
kselftest: vm
	@status=0; scripts/kselftest '$(VM)' '$(RESULTS)' || status=1; \
	$(REPORT) '$(RESULTS)/kselftest' '$(RESULTS)'/*_*.tap \
		$(if $(KERNEL),'$(RESULTS)/guest-kunit.tap') && exit $$status

## model-test    the modelled GPU itself, on GENS="9 11 12", with a fuzzer
model-test: vm
	@status=0; rm -f '$(RESULTS)'/gen*/{gpu_*,sh}.tap; \
	scripts/model-test '$(VM)' '$(RESULTS)' || status=1; \
	$(REPORT) '$(RESULTS)/model' '$(RESULTS)'/gen*/{gpu_*,sh}.tap && exit $$status

## igt           IGT's tests of contexts: TESTS= is a regular expression, or fast; IGT= your build
igt: vm
	@scripts/deps jq
	@scripts/igt-root '$(WORK)/igt' '$(IGT)'
	@status=0; scripts/igt '$(WORK)/igt' '$(VM)' '$(RESULTS)/igt' || status=1; \
	$(REPORT) '$(RESULTS)/igt/igt' '$(RESULTS)'/igt/igt_*.tap && exit $$status

## live-selftests  i915's own live selftests, or SUITES=
live-selftests: vm
	@scripts/deps kmod
	@mkdir -p '$(RESULTS)/live-selftests'
	@status=0; scripts/live-selftests '$(VM)' '$(RESULTS)' $(SUITES) | \
		tee '$(RESULTS)/live-selftests/live_gen$(GEN).tap' || status=1; \
	$(REPORT) '$(RESULTS)/live-selftests/live-selftests' '$(RESULTS)'/live-selftests/live_*.tap && \
	exit $$status

## clients       Debian's Mesa, media driver and OpenCL; SEED= chooses when they are killed
clients: vm
	@scripts/clients-root '$(WORK)/clients' '$(TREE)' '$(VM)'
	@status=0; scripts/clients '$(WORK)/clients' '$(VM)' '$(RESULTS)/clients' || status=1; \
	$(REPORT) '$(RESULTS)/clients/clients' '$(RESULTS)'/clients/clients_*.tap && exit $$status

## spin          check the protocol of the free list with SPIN
spin:
	@scripts/deps spin
	@mkdir -p '$(RESULTS)/spin'
	@scripts/spin '$(RESULTS)/spin' | tee '$(RESULTS)/spin/spin.tap'

## mutants       inject bugs into the driver: do the tests catch them? MUTANTS= names some
mutants: tree
	@scripts/mutants '$(TREE)' '$(WORK)/mutants' '$(RESULTS)' $(MUTANTS)

## fuzz          random ioctls under KASAN, led by what they reach: SECONDS=600, SEED=,
##               REPLAY=file first runs what a log has
fuzz:
	@$(MAKE) --no-print-directory KERNEL=fuzz vm
	@FUZZ_SECONDS='$(SECONDS)' scripts/fuzz '$(VM)-fuzz' '$(RESULTS)/fuzz'

## coverage      lines that create and free contexts and that no test runs
coverage:
	@$(MAKE) --no-print-directory KERNEL=coverage vm
	@scripts/coverage '$(VM)-coverage' '$(RESULTS)/coverage'

## bench         what contexts cost before the redesign and after: a table and plots
bench: tree
	@scripts/deps gnuplot-nox
	@scripts/bench '$(TREE)' '$(WORK)' '$(RESULTS)'

##
## Send
##
## check         is the series fit to be sent? PARTS= names some parts, FULL=1 builds more,
##               TOPIC=close checks one topic with just its prerequisites
# Debian's coccinelle needs libpython3-dev and does not depend on it.
check: tree
	@scripts/deps b4 coccinelle libpython3-dev shellcheck
	@mkdir -p '$(RESULTS)'
	@status=0; scripts/check '$(TREE)' '$(WORK)/check$(CLANG)' '$(RESULTS)' $(PARTS) 2>&1 | \
		tee '$(RESULTS)/check.txt' || status=1; \
	$(REPORT) '$(RESULTS)/check' '$(RESULTS)/check.txt' && exit $$status

## docs          the kernel's chapter on the life of a context as HTML, without a new warning
docs: tree
	@scripts/deps graphviz python3-sphinx python3-yaml
	@scripts/docs '$(TREE)' '$(WORK)/docs' '$(RESULTS)'

## mbox          each topic, or TOPIC=, as b4 would send it: build/results/TOPIC.mbox; SIGNOFF=1
##               makes you the author and adds your Signed-off-by
mbox: tree
	@scripts/deps b4
	@mkdir -p '$(WORK)/check'
	@scripts/mbox '$(TREE)' '$(WORK)/check/linux' '$(RESULTS)' $(TOPIC)

## apply-matrix  does the series apply to other kernels of Debian?
apply-matrix: tree
	@scripts/apply-matrix '$(TREE)' '$(WORK)/matrix'

## stable        the fixes on Debian's long-term kernels: do they apply, compile and work?
##               SERIES=6.12 tries one, BOOT=no boots none
stable: tree
	@BOOT='$(BOOT)' scripts/stable '$(TREE)' '$(WORK)/stable' '$(RESULTS)/stable' $(SERIES)

##
## Maintain
##
## tree          the kernel with the series as git commits: build/linux-7.3/linux
tree: deps
	@$(if $(LINUX),:,scripts/base build/base)
	@scripts/tree '$(TREE)' '$(or $(LINUX),build/base)'
	@$(if $(WHEN),scripts/before '$(TREE)' '$(BOOTED)' '$(WHEN)',:)

## refresh       export the commits of that tree to patches/, kunit/, selftests/, Documentation/gpu/
refresh:
	@scripts/refresh '$(TREE)' .

## vm            build the kernel that is booted; the tests are those of the end of the series
vm: tree
	@mkdir -p '$(RESULTS)'
	@scripts/kernel '$(BOOTED)' '$(VM)' '$(TREE)' configs/vmtest.config \
		$(if $(KERNEL),configs/$(KERNEL).config)

## qemu          build QEMU with the modelled GPU, print its path
qemu: deps
	@scripts/qemu

## clean         delete the builds and results
clean:
	rm -rf '$(WORK)' '$(WORK)'.* build/results
endif

deps:
	@scripts/deps $(if $(filter 1,$(LLVM)),clang-19 lld-19 llvm-19)
