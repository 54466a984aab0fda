# The benchmarks. `make bench` prints the README's figures; tests/bench/bench.sh --help for more.

BENCH_PROGRAMS := $(addprefix $(TESTS)/bench/,heap heap_watch memcached_rate pairs store_bytes)

$(addprefix $(TESTS)/bench/,heap memcached_rate pairs): $(TESTS)/bench/%: tests/bench/%.c tests/bench/heap.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ -lpthread

$(TESTS)/bench/heap_watch: tests/bench/heap_watch.c tests/bench/heap.h runtime/engine.h $(HARNESS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $(filter %.c %.o,$^) -o $@

$(TESTS)/bench/store_bytes: tests/bench/store_bytes.c $(TESTS)/libunit.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(TEST_FLAGS) $< -o $@ $(TESTS)/libunit.a -ldl

# Not run every day, so at least built.
tests: $(BENCH_PROGRAMS)

bench: test-packages
	@$(MAKE) --no-print-directory all $(TESTS)/memcached_load $(BENCH_PROGRAMS)
	@BUILD=$(BUILD) tests/bench/bench.sh $(BENCH_OPTIONS)

.PHONY: bench
