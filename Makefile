# respct: build, test, install. `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
CC ?= gcc

VERSION := 0.1.0
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
CFLAGS ?= -O2 -g
COMMON := -std=gnu11 -D_GNU_SOURCE -DRESPCT_VERSION='"$(VERSION)"' -I. -Iruntime $(WARNINGS)

# Code that runs inside a protected process: no stack protector (the checkpoint thread has its
# own TLS), nothing exported that is not marked so, frames kept for backtraces.
PRELOAD_FLAGS := $(COMMON) -fPIC -fvisibility=hidden -fno-stack-protector -fno-omit-frame-pointer \
	-ftls-model=initial-exec -fno-plt -fno-strict-aliasing -fexceptions

STORE_SOURCES := $(wildcard runtime/store/*.c) runtime/memory.c runtime/message.c runtime/manifest.c
RUNTIME_SOURCES := $(wildcard runtime/*.c runtime/store/*.c runtime/arch/x86_64/*.c)
RUNTIME_ASSEMBLY := $(wildcard runtime/arch/x86_64/*.S)
SHIM_SOURCES := $(wildcard shim/*.c)
PRELOAD_OBJECTS := $(patsubst %.c,$(BUILD)/preload/%.o,$(RUNTIME_SOURCES) $(SHIM_SOURCES)) \
	$(patsubst %.S,$(BUILD)/preload/%.o,$(RUNTIME_ASSEMBLY))

JEMALLOC := /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)/libjemalloc_pic.a

all: $(BUILD)/librespct.so $(BUILD)/respct $(BUILD)/respct-restore

include tools/tools.mk
include tests/tests.mk

$(BUILD)/preload/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PRELOAD_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/preload/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PRELOAD_FLAGS) -MMD -MP -c $< -o $@

# The allocator gets its memory and its locks from the runtime, not through the shim.
$(BUILD)/jemalloc.a: $(JEMALLOC) shim/jemalloc.symbols
	@mkdir -p $(@D)
	objcopy --redefine-syms=shim/jemalloc.symbols $< $@

$(BUILD)/librespct.so: $(PRELOAD_OBJECTS) $(BUILD)/jemalloc.a shim/exports.map
	$(CC) $(CFLAGS) -shared -Wl,-z,now -Wl,-z,relro -Wl,--build-id=sha1 -Wl,-Bsymbolic \
		-Wl,-soname,librespct.so -Wl,--version-script=shim/exports.map -Wl,--no-undefined \
		-o $@ $(PRELOAD_OBJECTS) $(BUILD)/jemalloc.a -ldl -lpthread -lm

-include $(PRELOAD_OBJECTS:.o=.d)

clean:
	rm -rf $(BUILD)

.PHONY: all clean
