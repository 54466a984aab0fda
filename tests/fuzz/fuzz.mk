# Fuzzing, and the inputs in the tree, tried again by `make test`.
#
#   make fuzz FUZZ_SECONDS=60 FUZZ_TARGETS='manifest store undo crash'
#
# runs each target for so long, from the inputs in the tree and from what earlier runs have found in
# BUILD/fuzz/corpus. What is trouble is left in BUILD/fuzz/found: it is to be fixed, and goes to tests/fuzz/inputs.
# `make fuzz-coverage` says which lines of the code are reached by all of these.
#
# The code under test is linked into one object whose variables are in sections of their own, so that the
# sandbox can set them back between inputs.

FUZZ := $(BUILD)/fuzz
FUZZ_CC ?= clang
FUZZ_CHECKS := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= manifest store undo crash
FUZZ_CODE := $(sort $(filter-out tools/common/report.c $(addprefix tools/restore/,main.c process/process.c \
		process/session.c files/directory.c restorer/blob.c), \
	$(patsubst $(BUILD)/tool/%.o,%.c,$(RESTORE_OBJECTS))) $(TRACK_SOURCES) \
	$(addprefix tools/respct/,record.c show.c place.c backtrace.c))

FUZZ_FLAGS := -O1 -g -fno-omit-frame-pointer $(FUZZ_CHECKS) $(TOOL_FLAGS) $(if $(LIBDW),-DHAVE_LIBDW)

# $(call fuzz_rules,KIND,COMPILER,FLAGS OF THE CODE UNDER TEST,OF THE TARGETS,OF THE LINKER,WHAT ELSE IS LINKED)
define fuzz_rules
$(FUZZ)/$(1)/tests/fuzz/%.o: tests/fuzz/%.c
	@mkdir -p $$(@D)
	$(2) $(FUZZ_FLAGS) $(4) -MMD -MP -c $$< -o $$@

$(FUZZ)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$(2) $(FUZZ_FLAGS) $(3) -MMD -MP -c $$< -o $$@

$(FUZZ)/$(1)/code.o: $(patsubst %.c,$(FUZZ)/$(1)/%.o,$(FUZZ_CODE))
	ld -r -o $$@ $$^
	objcopy --rename-section .data=tool_data --rename-section .bss=tool_bss $$@

$(FUZZ)/$(1)/fuzz_%: $(FUZZ)/$(1)/tests/fuzz/fuzz_%.o $(patsubst %,$(FUZZ)/$(1)/tests/fuzz/%.o,sandbox seal $(6)) \
		$(FUZZ)/$(1)/code.o $(BUILD)/tool/tools/restore/restorer/blob.o
	$(2) $(5) $(FUZZ_CHECKS) -o $$@ $$^ $(LIBDW) -ldl

-include $$(wildcard $(FUZZ)/$(1)/*/*.d $(FUZZ)/$(1)/*/*/*.d $(FUZZ)/$(1)/*/*/*/*.d)
endef

$(eval $(call fuzz_rules,libfuzzer,$(FUZZ_CC),-fsanitize=fuzzer-no-link,-DFUZZING,-fsanitize=fuzzer,mutate))
$(eval $(call fuzz_rules,replay,$(CC),,,,replay))

.PRECIOUS: $(FUZZ)/libfuzzer/%.o $(FUZZ)/replay/%.o

$(FUZZ)/seed_%: tests/fuzz/seed_%.c tests/fuzz/seal.c $(wildcard tests/fuzz/*.h) $(TESTS)/libunit.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< tests/fuzz/seal.c -o $@ $(TESTS)/libunit.a -ldl

fuzz-packages:
	@tests/install-packages fuzz

fuzz: fuzz-packages
	@$(MAKE) --no-print-directory $(addprefix $(FUZZ)/libfuzzer/fuzz_,$(FUZZ_TARGETS))
	@FUZZ=$(FUZZ) tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# What the tests run: plain programs, and the inputs where an ordinary user can read them.
FUZZ_REPLAYS := $(addprefix $(TESTS)/fuzz/,manifest store undo crash)
FUZZ_INPUTS := $(wildcard tests/fuzz/inputs/*/*)

tests: $(FUZZ_REPLAYS) $(TESTS)/fuzz/inputs

$(FUZZ_REPLAYS): $(TESTS)/fuzz/%: $(FUZZ)/replay/fuzz_%
	@mkdir -p $(@D)
	cp $< $@

$(TESTS)/fuzz/inputs: $(FUZZ_INPUTS)
	@mkdir -p $(@D)
	rm -rf $@
	cp -r tests/fuzz/inputs $@
	chmod -R a+rX $@
	touch $@

$(eval $(call fuzz_rules,coverage,$(FUZZ_CC),-fprofile-instr-generate -fcoverage-mapping,,-fprofile-instr-generate,replay))

fuzz-coverage: fuzz-packages
	@$(MAKE) --no-print-directory $(addprefix $(FUZZ)/coverage/fuzz_,$(FUZZ_TARGETS))
	@FUZZ=$(FUZZ) tests/fuzz/run coverage $(FUZZ_TARGETS)

.PHONY: fuzz fuzz-packages fuzz-coverage

fuzz-inputs: test-packages
	@$(MAKE) --no-print-directory tests $(addprefix $(FUZZ)/seed_,manifest store undo)
	@BUILD=$(BUILD) tests/fuzz/make-inputs

.PHONY: fuzz-inputs
