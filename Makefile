# respct: what can be made.
#
#   all           build/librespct.so, build/respct, build/respct-restore (the default)
#   demo          memcached survives kill -9, three times; installs what is missing
#   test          all tests; installs what is missing. test-unit, test-e2e: one half
#   soak          an hour (SOAK_SECONDS=N) of programs under load, killed every few seconds; looks for growth
#   crash-exhaustive  a million states that a loss of power could leave of the store; recovers each.
#                 CRASH_STATES=N tries another number, CRASH_SEED=S begins elsewhere
#   test-vm       in qemu: other kernels, persistent memory, power cuts; up to an hour
#   bench         the figures of README.md
#   install       to DESTDIR/PREFIX (/usr/local); uninstall: removes it again
#   fuzz          hostile stores, by libFuzzer; FUZZ_SECONDS=60 for each target; see tests/fuzz/fuzz.mk
#   lint          clang-tidy, cppcheck and shellcheck
#   format        clang-format in place; format-check: says what it would change
#   asan          tools and tests with address and undefined behaviour sanitizers; runs them
#   clean         removes what was built
#
# BUILD=DIR builds elsewhere, CC=clang with another compiler, CFLAGS (-O2 -g) optimises.
# A change of these needs a `make clean` or another BUILD.

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
# make itself would say cc
ifeq ($(origin CC),default)
CC := gcc
endif

VERSION := 0.1.0
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
CFLAGS ?= -O2 -g
COMMON := -std=gnu11 -D_GNU_SOURCE -DRESPCT_VERSION='"$(VERSION)"' -I. -Iruntime $(WARNINGS)

# Code that runs inside a protected process: no stack protector (the checkpoint thread has its
# own TLS), nothing exported that is not marked so, frames kept for backtraces.
PRELOAD_FLAGS := $(COMMON) -fPIC -fvisibility=hidden -fno-stack-protector -fno-omit-frame-pointer \
	-ftls-model=initial-exec -fno-plt -fno-strict-aliasing -fexceptions

STORE_SOURCES := $(wildcard runtime/store/*.c) runtime/base/fail.c runtime/base/memory.c runtime/base/message.c runtime/manifest.c
TRACK_SOURCES := $(wildcard runtime/track/*.c)
RUNTIME_SOURCES := $(wildcard runtime/*.c runtime/*/*.c runtime/arch/x86_64/*.c)
RUNTIME_ASSEMBLY := $(wildcard runtime/arch/x86_64/*.S)
SHIM_SOURCES := $(wildcard shim/*.c shim/*/*.c)
PRELOAD_OBJECTS := $(patsubst %.c,$(BUILD)/preload/%.o,$(RUNTIME_SOURCES) $(SHIM_SOURCES)) \
	$(patsubst %.S,$(BUILD)/preload/%.o,$(RUNTIME_ASSEMBLY))

JEMALLOC := /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)/libjemalloc_pic.a

all: $(BUILD)/librespct.so $(BUILD)/respct $(BUILD)/respct-restore

include tools/tools.mk
include tests/tests.mk
include tests/fuzz/fuzz.mk
include tests/bench/bench.mk

# What this option of gcc prevents, clang never does in freestanding code.
ifneq (,$(findstring clang,$(shell $(CC) --version 2>/dev/null)))
RESTORER_FLAGS := $(filter-out -fno-tree-loop-distribute-patterns,$(RESTORER_FLAGS))
endif

$(BUILD)/preload/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PRELOAD_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/preload/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PRELOAD_FLAGS) -MMD -MP -c $< -o $@

# The allocator gets its memory, its locks and the time from us, not from whoever stands in front of libc.
$(BUILD)/jemalloc.a: $(JEMALLOC) shim/memory/jemalloc.symbols
	@mkdir -p $(@D)
	objcopy --redefine-syms=shim/memory/jemalloc.symbols $< $@

$(BUILD)/librespct.so: $(PRELOAD_OBJECTS) $(BUILD)/jemalloc.a shim/exports.map
	$(CC) $(CFLAGS) -shared -Wl,-z,now -Wl,-z,relro -Wl,--build-id=sha1 -Wl,-Bsymbolic \
		-Wl,-soname,librespct.so -Wl,--version-script=shim/exports.map -Wl,--no-undefined \
		-o $@ $(PRELOAD_OBJECTS) $(BUILD)/jemalloc.a -ldl -lpthread -lm

-include $(PRELOAD_OBJECTS:.o=.d)

clean:
	rm -rf $(BUILD) $(ASAN)

help:
	@sed -n '/^#   /s/^#  //p' Makefile

# ---- installing ----

BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib/respct
INCLUDE := $(DESTDIR)$(PREFIX)/include
MAN := $(DESTDIR)$(PREFIX)/share/man

install: all
	install -d $(BIN) $(LIB) $(INCLUDE) $(MAN)/man1 $(MAN)/man7
	install -m 755 $(BUILD)/respct $(BUILD)/respct-restore $(BIN)
	install -m 755 $(BUILD)/librespct.so $(LIB)
	install -m 644 runtime/respct.h $(INCLUDE)
	install -m 644 man/respct.1 man/respct-restore.1 $(MAN)/man1
	install -m 644 man/respct.7 $(MAN)/man7

uninstall:
	rm -f $(BIN)/respct $(BIN)/respct-restore $(LIB)/librespct.so $(INCLUDE)/respct.h
	rm -f $(MAN)/man1/respct.1 $(MAN)/man1/respct-restore.1 $(MAN)/man7/respct.7
	-rmdir $(LIB)

# ---- checking the sources ----

CHECKED := $(sort $(shell find runtime shim tools -name '*.c'))
FORMATTED := $(sort $(shell find runtime shim tools tests -name '*.c' -o -name '*.h'))
SCRIPTS := $(wildcard .ci/run demo/*.sh tests/e2e/*.sh tests/bench/*.sh tests/fuzz/run tests/fuzz/make-inputs tests/run-tests tests/install-packages \
	tests/vm/run tests/vm/guest/init tests/vm/guest/suite)

# One file at a time: clang-tidy 14 mixes up va_list between files.
lint:
	@echo clang-tidy runtime shim tools
	@printf '%s\n' $(CHECKED) | xargs -I FILE clang-tidy --quiet FILE -- $(COMMON) -Itools 2>/dev/null
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--suppressions-list=.cppcheck-suppressions -D__x86_64__ -D_GNU_SOURCE -I. -Iruntime -Itools \
		runtime shim tools
	shellcheck $(SCRIPTS)

format:
	clang-format -i $(FORMATTED)

format-check:
	clang-format --dry-run --Werror $(FORMATTED)

# ---- sanitizers: the tools and the tests, but nothing that runs in a protected process ----

ASAN := build-asan
ASAN_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
ASAN_PROGRAMS := $(patsubst $(BUILD)/%,$(ASAN)/%,$(BUILD)/respct $(BUILD)/respct-restore $(RUNNERS) $(TESTS)/crash_states $(UNIT_TESTS))

asan: test-packages
	@$(MAKE) --no-print-directory tests
	@$(MAKE) --no-print-directory BUILD=$(ASAN) CFLAGS='$(ASAN_FLAGS)' $(ASAN_PROGRAMS)
	cp $(BUILD)/librespct.so $(ASAN)
	cp -r $(addprefix $(TESTS)/,victims helpers bench memcached_load) $(ASAN)/tests
	ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1 BUILD=$(ASAN) \
		tests/run-tests --filter '[ucd]*' $(TEST_OPTIONS)

.PHONY: all clean help install uninstall lint format format-check asan
