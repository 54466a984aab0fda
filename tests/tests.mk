# The tests and the demo. `make test` builds and runs everything; tests/run-tests --help for more.

TESTS := $(BUILD)/tests
TEST_FLAGS := $(COMMON) -I. -Itools -fno-strict-aliasing
VICTIMS := $(patsubst tests/victims/%.c,$(TESTS)/victims/%,$(wildcard tests/victims/*.c)) \
	$(patsubst tests/victims/%.cc,$(TESTS)/victims/%,$(wildcard tests/victims/*.cc))
VICTIM_LIBRARIES := $(patsubst tests/victims/libraries/%.c,$(TESTS)/victims/%.so,$(wildcard tests/victims/libraries/*.c))
HELPERS := $(patsubst tests/e2e/helpers/%.c,$(TESTS)/helpers/%,$(wildcard tests/e2e/helpers/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(TESTS)/unit/%,$(wildcard tests/unit/test_*.c))
E2E_PROGRAMS := $(addprefix $(TESTS)/,crash_states damage_runner memcached memcached_load property \
	property_check property_runner)

# What unit tests are about; each takes from it what it needs.
UNIT_OBJECTS := $(patsubst %.c,$(BUILD)/tool/%.o,$(STORE_SOURCES) $(wildcard runtime/descriptor/*.c) \
	runtime/arch/x86_64/processor.c runtime/files/build_id.c runtime/memory/region.c $(TRACK_SOURCES) \
	runtime/base/hidden.c runtime/base/aside.c runtime/threads/handler.c runtime/threads/interrupted.c $(wildcard tools/restore/descriptors/*.c tools/common/*.c) \
	tools/respct/crash/plan.c tools/respct/crash/xml.c)

-include $(UNIT_OBJECTS:.o=.d)

# All of it is position-independent.
UNIT_OBJECTS += $(patsubst %.S,$(BUILD)/preload/%.o,$(RUNTIME_ASSEMBLY))

$(TESTS)/libunit.a: $(UNIT_OBJECTS)
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

$(TESTS)/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(TESTS)/libunit.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ $(TESTS)/libunit.a -lcriterion -lpthread -ldl

# The store over media in memory: tests/power/recorder.c comes instead of persist.c and directory.c.
REPLACED := rt_store_hash rt_store_random rt_memory_map rt_memory_unmap rt_memory_grow
$(TESTS)/crash_states: $(wildcard tests/power/*.c tests/power/*.h) $(TESTS)/libunit.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(filter %.c,$^) -o $@ $(TESTS)/libunit.a $(REPLACED:%=-Wl,--wrap=%) -ldl

CRASH_STATES ?= 1000000
CRASH_SEED ?= 1
crash-exhaustive: $(TESTS)/crash_states
	$< small --thorough 10 --seed $(CRASH_SEED)
	$< random --states $(CRASH_STATES) --seed $(CRASH_SEED) --jobs $$(nproc)

$(TESTS)/victims/%: tests/victims/%.c $(wildcard tests/victims/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(VICTIM_FLAGS) $< -o $@ $(VICTIM_LIBRARY) -lpthread -lm -ldl

$(TESTS)/victims/openmp: VICTIM_FLAGS := -fopenmp
$(TESTS)/victims/io_uring: VICTIM_LIBRARY := -luring
$(TESTS)/victims/linux_aio: VICTIM_LIBRARY := -laio
$(TESTS)/victims/stack_code $(TESTS)/victims/stack_code.so: VICTIM_FLAGS := -Wl,-z,execstack
$(TESTS)/victims/dlopen_deep_bind: VICTIM_FLAGS := -Wl,-rpath,'$$ORIGIN'

$(TESTS)/victims/%: tests/victims/%.cc $(wildcard tests/victims/*.hh)
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -std=c++20 -Wall -Wextra -Wshadow $< -o $@ -lpthread

# What victims load with dlopen().
$(TESTS)/victims/%.so: tests/victims/libraries/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(VICTIM_FLAGS) -fPIC -shared $< -o $@

$(TESTS)/helpers/segment_user: tests/victims/segment.h
$(TESTS)/helpers/static_program: HELPER_FLAGS := -static
$(TESTS)/helpers/become_child $(TESTS)/helpers/late_continue: HELPER_FLAGS := -shared -fPIC
$(TESTS)/helpers/%: tests/e2e/helpers/%.c runtime/base/fail.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(HELPER_FLAGS) $< -o $@ -lpthread

# What starts, kills and restores programs.
HARNESS := tests/e2e/harness.c $(addprefix $(BUILD)/tool/tools/common/,children.o stacks.o report.o plain.o)

RUNNERS := $(addprefix $(TESTS)/,damage_runner memcached property_runner)
$(RUNNERS): $(TESTS)/%: tests/e2e/%.c $(HARNESS) tests/e2e/harness.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(filter %.c %.o,$^) -o $@

$(TESTS)/memcached_load $(TESTS)/property: $(TESTS)/%: tests/e2e/%.c tests/e2e/property.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ -lpthread -ldl

$(TESTS)/property_check: tests/e2e/property_check.c tests/e2e/property.h $(TESTS)/libunit.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ $(TESTS)/libunit.a -ldl

SOAK := $(wildcard tests/soak/*.c) $(HARNESS)
$(TESTS)/soak: $(SOAK) $(wildcard tests/soak/*.h) tests/e2e/harness.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(SOAK) -o $@

-include $(UNIT_OBJECTS:.o=.d)

# What the real programs are given, where an ordinary user can read it.
PROGRAM_SCRIPTS := $(patsubst tests/e2e/programs/%,$(TESTS)/programs/%,$(wildcard tests/e2e/programs/*))
$(TESTS)/programs/%: tests/e2e/programs/%
	@mkdir -p $(@D)
	cp $< $@

tests: all $(E2E_PROGRAMS) $(TESTS)/soak $(VICTIMS) $(VICTIM_LIBRARIES) $(HELPERS) $(UNIT_TESTS) $(PROGRAM_SCRIPTS)

test-packages:
	@tests/install-packages tests

test: test-packages
	@$(MAKE) --no-print-directory tests
	@BUILD=$(BUILD) tests/run-tests $(TEST_OPTIONS)

test-unit: test-packages
	@$(MAKE) --no-print-directory tests
	@BUILD=$(BUILD) tests/run-tests --filter 'unit/*' $(TEST_OPTIONS)

test-e2e: test-packages
	@$(MAKE) --no-print-directory tests
	@BUILD=$(BUILD) tests/run-tests --filter '[!u]*' $(TEST_OPTIONS)

# An hour unless SOAK_SECONDS says otherwise; SOAK_OPTIONS: see tests/soak/soak.c.
SOAK_SECONDS ?= 3600
soak: test-packages
	@$(MAKE) --no-print-directory tests
	@mkdir -p $(BUILD)/soak
	@$(TESTS)/soak --seconds $(SOAK_SECONDS) $(SOAK_OPTIONS)

# In a virtual machine with persistent memory; not part of `make test`.
# Files in an initramfs are of another time after each boot: a restore knows the program by its build-id.
VM_PROGRAMS := $(TESTS)/vm/power_load
$(TESTS)/vm/%: tests/vm/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) -Wl,--build-id=sha1 $< -o $@ -lpthread -ldl

vm-programs: $(VM_PROGRAMS)

# Not run every day, so at least built.
tests: vm-programs

test-vm: test-packages
	@$(MAKE) --no-print-directory tests vm-programs
	@BUILD=$(BUILD) tests/vm/run $(VM_OPTIONS) || [ $$? -eq 77 ]

demo-packages:
	@tests/install-packages demo

demo: demo-packages
	@$(MAKE) --no-print-directory all $(TESTS)/memcached_load
	@BUILD=$(BUILD) demo/demo.sh

.PHONY: tests vm-programs test-vm crash-exhaustive test test-unit test-e2e test-packages soak demo demo-packages
