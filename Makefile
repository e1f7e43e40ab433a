# The i915 context reclaim series: `make help' says what there is to do.
#
# Everything that is made goes to build/, which can be deleted at any time; the
# downloaded kernel and the compiler cache stay in the user's cache folder.

# A kernel of its own, and another seed each time
ifneq ($(filter fuzz,$(MAKECMDGOALS)),)
override KERNEL := fuzz
SEED	?= $(shell date +%s)
endif

LINUX	?=
COUNT	?= 10000
THREADS	?= 2
PROCS	?= 2
ACCEL	?= auto
SMP	?= 2
FULL	?=
FIRST	?=
MODULE	?=
PARTS	?=
PHASES	?=
KASAN	?=
MUTANTS	?=
KERNEL	?=
TESTS	?=
IGT	?=
SUITES	?=
SEED	?= 1
SECONDS	?= 600
REPLAY	?=
BEFORE	?=
GEN	?= 12
GENS	?= 9 11 12
QEMU	?=
LLVM	?=

ifeq ($(filter 9 11 12,$(GEN)),)
$(error GEN=$(GEN): the model knows the graphics versions 9, 11 and 12)
endif

# One folder for each kernel that the series is put on.
ifeq ($(LINUX),)
NAME	:= linux-7.3
else
LINUX_PATH := $(shell realpath -ms '$(LINUX)')
NAME	:= $(shell basename '$(LINUX_PATH)' | tr -c 'A-Za-z0-9._\n-' _)-$(firstword $(shell echo '$(LINUX_PATH)' | cksum))
endif
WORK	:= $(CURDIR)/build/$(NAME)
TREE	:= $(WORK)/linux
RESULTS	:= $(CURDIR)/build/results$(if $(BEFORE),/before)$(if $(KERNEL),/$(KERNEL))$(if $(filter-out 12,$(GEN)),/gen$(GEN))
# Clang builds in folders of its own. The kernel's make takes LLVM from the environment.
export LLVM
CLANG	:= $(if $(LLVM),-llvm)
# What is booted: the end of the series, the commit before the redesign, or the base
BOOTED	:= $(if $(BEFORE),$(WORK)/$(if $(filter base,$(BEFORE)),base,before)/linux,$(TREE))
VM	:= $(WORK)/vm$(if $(BEFORE),-$(notdir $(patsubst %/linux,%,$(BOOTED))))$(if $(KERNEL),-$(KERNEL))$(CLANG)
CONFIGS	:= configs/vmtest.config $(if $(KERNEL),configs/$(KERNEL).config)
# The tests and their config are those of the end of the series, whatever is booted.
REPORT	:= scripts/junit '$(TREE)'
KERNEL_BUILD = scripts/kernel '$(BOOTED)' '$(VM)' '$(TREE)' $(CONFIGS)
VMTEST	:= scripts/vmtest -m $(if $(KERNEL),2G,1G)
export ACCEL GEN QEMU SMP

# What contexts cost, in instructions, and what of it has a limit: make bench has more.
ALSO	:= ACCEL=icount $(VMTEST) '$(VM)' '$(RESULTS)' context_bench -n 10000 costs memory || failed=1;

# 10000 contexts take such a kernel a quarter of an hour, and a flood longer.
ifneq ($(KERNEL),)
VMTEST	+= -t 3600
ALSO	:= $(VMTEST) '$(VM)' '$(RESULTS)' context_spam -n 2000 || failed=1; \
	   $(VMTEST) '$(VM)' '$(RESULTS)' context_flood -n 200 -v 4_threads_fifo || failed=1; \
	   $(VMTEST) -l i915_gem_context_tests '$(VM)' '$(RESULTS)' guest-kunit || failed=1;
# Such a kernel takes a minute to boot, so one guest runs them all. What KASAN and kmemleak take
# is not charged, which context_memcg would find.
ALL	:= -1 -x context_spam -x context_flood -x context_memcg
endif

# The base folder lets clones share the compiler cache, and what is not in it costs a
# compilation, not that and a run of the preprocessor. ccache finds gcc by the PATH
# of the outermost make.
ifndef CCACHE_PATH
export CCACHE_PATH := $(if $(filter 1,$(LLVM)),/usr/lib/llvm-19/bin:)$(PATH)
endif
# LLVM=1 is that of Debian, whose version drm/ci has, too.
export PATH := $(CURDIR)/scripts/ccache:$(if $(filter 1,$(LLVM)),/usr/lib/llvm-19/bin:)$(PATH)
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_DEPEND := 1
export CCACHE_NOHASHDIR := 1

SHELL	:= /bin/bash
.SHELLFLAGS := -o pipefail -c
.PHONY: help run test tree vm refresh check docs mbox kunit mutants coverage kselftest fuzz igt clients \
	live-selftests bench model-test spin qemu shell deps clean apply-matrix

help:
	@echo 'make run        spam contexts on i915, on a GPU that QEMU models'
	@echo 'make test       every test there is, or PHASES="spin kunit" of it'
	@echo 'make kunit      the KUnit suites, KASAN=1 under KASAN'
	@echo 'make mutants    does KUnit notice wrong changes to the driver? MUTANTS= names some'
	@echo 'make coverage   which lines that make and free contexts no test runs'
	@echo 'make kselftest  the kselftests, in QEMU; KERNEL=debug or KERNEL=kcsan on such a kernel'
	@echo 'make fuzz       the ioctls of contexts, vms and execbuf at random, under KASAN, led by what'
	@echo '                they reach: SECONDS=$(SECONDS), SEED=; REPLAY=file first runs what a log has'
	@echo 'make igt        the tests of contexts of IGT, unmodified; TESTS= is a regular'
	@echo '                expression of which, or fast; IGT= a build of your own; KERNEL=debug'
	@echo 'make live-selftests'
	@echo '                i915'"'"'s own: all, or the SUITES named; KERNEL=debug'
	@echo 'make clients    user-space drivers of Debian, unmodified: Mesa, the media driver, OpenCL;'
	@echo '                SEED= chooses the moments at which they are killed'
	@echo 'make bench      what contexts cost, before the redesign and after: a table and plots'
	@echo 'make check      is the series fit to be sent? PARTS= runs some, FULL=1 builds more,'
	@echo '                FIRST=17 looks at the first 17 patches alone, which are the fixes'
	@echo 'make docs       the HTML of the chapter on the life of a context, without a new warning'
	@echo 'make model-test'
	@echo '                is the modelled GPU what the driver takes it for? with a fuzz of it; GENS=12'
	@echo 'make spin       the protocol of the free list, checked exhaustively by SPIN'
	@echo 'make qemu       QEMU with the modelled GPU: prints the path of the binary'
	@echo 'make apply-matrix'
	@echo '                does the series apply to the kernels before and after, too?'
	@echo 'make mbox       the series as it would be mailed: build/results/series.mbox'
	@echo 'make shell      a prompt in the guest, with the kselftests in PATH'
	@echo 'make tree       the kernel with the series as git commits: $(TREE)'
	@echo 'make refresh    export the commits of that tree back to patches/'
	@echo 'make clean      delete build/$(NAME)'
	@echo
	@echo 'LINUX=dir    your own git tree in place of Debian'"'"'s, taken at its HEAD, not written to'
	@echo 'BEFORE=1     boots the commit before the redesign, BEFORE=base the kernel without'
	@echo '             the series: in make run, kselftest, igt, live-selftests, clients'
	@echo 'GEN=$(GEN)       graphics version of the modelled GPU: 9, 11 or 12'
	@echo 'LLVM=1       builds the kernel with clang'
	@echo 'QEMU=file    a QEMU of your own that has the device intel-gpu'
	@echo 'COUNT=$(COUNT)  contexts in each of the runs of make run'
	@echo 'THREADS=$(THREADS) PROCS=$(PROCS)  threads in each process and processes that spam'
	@echo 'ACCEL=$(ACCEL)  kvm, tcg, or auto: KVM if it works    SMP=$(SMP)  CPUs of the guest'

# Targets that use the kernel's own make, which takes no blanks and colons in its path,
# nor vmtest commas, and the others that write to build/: one at a time, see scripts/lock.
BUILDS	:= run test kunit mutants coverage kselftest fuzz igt live-selftests clients bench model-test shell docs \
	   $(if $(PARTS),$(if $(filter build sparse,$(PARTS)),check),check)
comma	:= ,
ODD	:= $(word 2,$(subst :, ,$(subst $(comma), ,x$(CURDIR)x)))

ifndef HOLDS_LOCK
.NOTPARALLEL:

$(sort $(BUILDS) apply-matrix check clean mbox refresh spin tree):
	@$(if $(and $(ODD),$(filter $@,$(BUILDS))),echo "make $@: the kernel cannot be built below $(CURDIR): clone to a path without blanks$(comma) colons and commas" >&2; exit 1)
	@HOLDS_LOCK=1 scripts/lock '$@' $(MAKE) --no-print-directory '$@'
else

run: vm
	@if $(VMTEST) '$(VM)' '$(RESULTS)' \
		context_spam -n '$(COUNT)' -t '$(THREADS)' -p '$(PROCS)' | \
		sed -u -e '/^TAP version/d' -e '/^1\.\./d' -e 's/^# \{0,1\}//'; \
	then echo PASS; \
	else echo 'FAIL (kernel log: $(RESULTS)/context_spam.log)'; exit 1; fi

test: tree
	@scripts/test '$(TREE)' '$(RESULTS)' $(PHASES)

kunit: tree
	@mkdir -p '$(RESULTS)'
ifeq ($(KASAN),)
	@scripts/kunit '$(TREE)' '$(WORK)/kunit$(CLANG)' '$(RESULTS)' | tee '$(RESULTS)/kunit.txt'; \
	status=$$?; $(REPORT) '$(RESULTS)/kunit' '$(RESULTS)/kunit.log' && exit $$status
else
	@scripts/kunit '$(TREE)' '$(WORK)/kunit-kasan$(CLANG)' '$(RESULTS)/kasan' \
		--kunitconfig=drivers/gpu/drm/i915/gem/tests/kasan.config | tee '$(RESULTS)/kunit-kasan.txt'; \
	status=$$?; $(REPORT) '$(RESULTS)/kasan/kunit' '$(RESULTS)/kasan/kunit.log' && exit $$status
endif

mutants: tree
	@scripts/mutants '$(TREE)' '$(WORK)/mutants' '$(RESULTS)' $(MUTANTS)

coverage:
	@$(MAKE) --no-print-directory KERNEL=coverage vm
	@scripts/coverage '$(VM)-coverage' '$(RESULTS)/coverage'

kselftest: vm
	@rm -f '$(RESULTS)'/{*_*,guest-kunit}.tap
	@failed=0; \
	{ $(VMTEST) $(ALL) '$(VM)' '$(RESULTS)' || failed=1; $(ALSO) exit $$failed; } | \
		tee '$(RESULTS)/kselftest.txt' || failed=1; \
	$(REPORT) '$(RESULTS)/kselftest' '$(RESULTS)'/*_*.tap \
		$(if $(KERNEL),'$(RESULTS)/guest-kunit.tap') || failed=1; \
	exit $$failed

fuzz: vm
	@SECONDS='$(SECONDS)' SEED='$(SEED)' REPLAY='$(REPLAY)' scripts/fuzz '$(VM)' '$(RESULTS)'

model-test: vm
	@failed=0; rm -f '$(RESULTS)'/gen*/{gpu_*,sh}.tap; \
	GEN='$(GENS)' scripts/model-test '$(VM)' '$(RESULTS)' || failed=1; \
	$(REPORT) '$(RESULTS)/model' '$(RESULTS)'/gen*/{gpu_*,sh}.tap || failed=1; \
	exit $$failed

spin:
	@scripts/deps spin
	@mkdir -p '$(RESULTS)/spin'
	@scripts/spin '$(RESULTS)/spin' | tee '$(RESULTS)/spin/spin.tap'

igt: vm
	@scripts/deps jq
	@scripts/igt-root '$(WORK)/igt' '$(IGT)'
	@failed=0; \
	TESTS='$(TESTS)' KERNEL='$(KERNEL)' \
		scripts/igt '$(WORK)/igt' '$(VM)' '$(RESULTS)/igt' || failed=1; \
	$(REPORT) '$(RESULTS)/igt/igt' '$(RESULTS)'/igt/igt_*.tap || failed=1; \
	exit $$failed

live-selftests: vm
	@scripts/deps kmod
	@mkdir -p '$(RESULTS)/live-selftests'
	@failed=0; \
	KERNEL='$(KERNEL)' scripts/live-selftests '$(VM)' '$(RESULTS)' $(SUITES) | \
		tee '$(RESULTS)/live-selftests/live_gen$(GEN).tap' || failed=1; \
	$(REPORT) '$(RESULTS)/live-selftests/live-selftests' '$(RESULTS)'/live-selftests/live_*.tap || failed=1; \
	exit $$failed

clients: vm
	@scripts/clients-root '$(WORK)/clients' '$(TREE)' '$(VM)'
	@failed=0; \
	SEED='$(SEED)' scripts/clients '$(WORK)/clients' '$(VM)' '$(RESULTS)/clients' || failed=1; \
	$(REPORT) '$(RESULTS)/clients/clients' '$(RESULTS)'/clients/clients_*.tap || failed=1; \
	exit $$failed

bench: tree
	@scripts/deps gnuplot-nox
	@scripts/bench '$(TREE)' '$(WORK)' '$(RESULTS)'

# Without the library that it does not depend on, Debian's coccinelle runs no script
check: tree
	@scripts/deps b4 coccinelle libpython3-dev shellcheck
	@mkdir -p '$(RESULTS)'
	@FULL='$(FULL)' FIRST='$(FIRST)' scripts/check '$(TREE)' '$(WORK)/check$(CLANG)' '$(RESULTS)' $(PARTS) \
		2>&1 | tee '$(RESULTS)/check.txt'; \
	status=$$?; $(REPORT) '$(RESULTS)/check' '$(RESULTS)/check.txt' && exit $$status

docs: tree
	@scripts/deps graphviz python3-sphinx python3-yaml
	@scripts/docs '$(TREE)' '$(WORK)/docs' '$(RESULTS)'

apply-matrix: tree
	@scripts/apply-matrix '$(TREE)' '$(WORK)/matrix'

mbox: tree
	@scripts/mbox '$(TREE)' '$(RESULTS)/series.mbox'

shell: vm
	@$(VMTEST) -i '$(VM)' '$(RESULTS)'

# The kernel and the kselftests, as they are booted
vm: tree
	@mkdir -p '$(RESULTS)'
	@$(KERNEL_BUILD)

tree: deps
ifeq ($(LINUX),)
	@scripts/base build/base
	@scripts/tree '$(TREE)' build/base
else
	@scripts/tree '$(TREE)' '$(LINUX)'
endif
	@$(if $(BEFORE),scripts/before '$(TREE)' '$(BOOTED)' '$(BEFORE)',:)

refresh:
	@scripts/refresh '$(TREE)' .

clean:
	rm -rf '$(WORK)' '$(WORK)'.* build/results
endif

qemu: deps
	@scripts/qemu

deps:
	@scripts/deps $(if $(filter 1,$(LLVM)),clang-19 lld-19 llvm-19)
