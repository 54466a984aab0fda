# The commands: respct and respct-restore with its freestanding restorer.

TOOL_FLAGS := $(COMMON) -Itools -fno-strict-aliasing
RESTORE_OBJECTS := $(patsubst %.c,$(BUILD)/tool/%.o,$(STORE_SOURCES) $(TRACK_SOURCES) \
	tools/common/clone.c tools/common/plain.c tools/common/report.c \
	runtime/files/build_id.c tools/common/crash_record.c tools/common/processor.c runtime/arch/x86_64/processor.c \
	$(wildcard tools/restore/*.c tools/restore/*/*.c)) $(BUILD)/tool/tools/restore/restorer/blob.o
RESPCT_OBJECTS := $(patsubst %.c,$(BUILD)/tool/%.o,$(STORE_SOURCES) $(TRACK_SOURCES) $(wildcard tools/common/*.c) \
	$(wildcard tools/respct/*.c tools/respct/crash/*.c))

# Backtraces of crashes, where libdw is there.
LIBDW := $(shell echo '\#include <elfutils/libdwfl.h>' | $(CC) -E - >/dev/null 2>&1 && echo -ldw -lelf)
$(BUILD)/tool/tools/respct/backtrace.o: TOOL_FLAGS += $(if $(LIBDW),-DHAVE_LIBDW)

$(BUILD)/tool/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TOOL_FLAGS) -MMD -MP -c $< -o $@

# Not a single byte of it may need relocation or a library.
RESTORER_FLAGS := $(COMMON) -Itools -O2 -ffreestanding -fPIE -fvisibility=hidden -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-tree-loop-distribute-patterns -mno-sse

FREESTANDING := tools/restore/restorer/freestanding
FREESTANDING_SOURCES := $(FREESTANDING)/restorer_entry.S $(wildcard $(FREESTANDING)/*.c)

$(BUILD)/restorer.elf: $(FREESTANDING_SOURCES) $(FREESTANDING)/restorer.lds $(FREESTANDING)/freestanding.h \
		tools/restore/restorer/plan.h runtime/base/fail.h runtime/life/resume.h runtime/manifest.h runtime/arch/x86_64/context.h
	@mkdir -p $(@D)
	$(CC) $(RESTORER_FLAGS) -nostdlib -static-pie -Wl,--no-dynamic-linker -Wl,-T,$(FREESTANDING)/restorer.lds \
		-Wl,--build-id=none -Wl,-z,norelro -Wl,--no-warn-rwx-segments -o $@ \
		$(FREESTANDING_SOURCES)
	@if readelf -r $@ | grep -q R_X86_64; then echo "$@: has relocations" >&2; rm $@; exit 1; fi

$(BUILD)/restorer.bin: $(BUILD)/restorer.elf
	objcopy -O binary -j .text $< $@

$(BUILD)/tool/tools/restore/restorer/blob.o: tools/restore/restorer/blob.S $(BUILD)/restorer.bin
	@mkdir -p $(@D)
	$(CC) -DRESTORER_BLOB='"$(BUILD)/restorer.bin"' -c $< -o $@

$(BUILD)/respct-restore: $(RESTORE_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ldl

$(BUILD)/respct: $(RESPCT_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBDW) -ldl

-include $(RESTORE_OBJECTS:.o=.d) $(RESPCT_OBJECTS:.o=.d)
