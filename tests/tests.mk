# The tests and the demo. `make test` builds and runs everything, `make tests` only builds.

TESTS := $(BUILD)/tests
TEST_FLAGS := $(COMMON) -fno-strict-aliasing
VICTIMS := $(patsubst tests/victims/%.c,$(TESTS)/victims/%,$(wildcard tests/victims/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(TESTS)/unit/%,$(wildcard tests/unit/test_*.c))
E2E_PROGRAMS := $(TESTS)/crash_runner

$(TESTS)/victims/%: tests/victims/%.c tests/victims/victim.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ -lpthread -lm -ldl

$(TESTS)/crash_runner: tests/e2e/crash_runner.c tests/e2e/harness.c tests/e2e/harness.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(filter %.c,$^) -o $@

victims: $(VICTIMS) $(E2E_PROGRAMS)

.PHONY: victims
