"""Threads with locks, conditions, queues, timed waits, local data, and a garbage collector at work."""
import gc
import hashlib
import queue
import threading
import time

ITEMS, WORKERS = 30000, 6
tasks = queue.Queue(maxsize=64)
results = {}
lock = threading.Lock()
local = threading.local()
ticks = threading.Event()


class Node:
    """One of a ring, so that only the collector frees it."""

    def __init__(self, value):
        self.value, self.other = value, self


def work():
    local.count = 0
    while (item := tasks.get()) is not None:
        node = Node(item)
        digest = hashlib.sha256(b"%d" % item * 500).hexdigest()
        with lock:
            results[item] = (digest, node.value)
        local.count += 1
        tasks.task_done()
    with lock:
        results["total"] = results.get("total", 0) + local.count
    tasks.task_done()


def tick():
    while not ticks.wait(timeout=0.01):
        gc.collect(0)


threads = [threading.Thread(target=work) for _ in range(WORKERS)]
ticker = threading.Thread(target=tick)
for thread in threads + [ticker]:
    thread.start()
for number in range(ITEMS):
    tasks.put(number)
    if number % 200 == 0:
        time.sleep(0.01)
for _ in threads:
    tasks.put(None)
tasks.join()
ticks.set()
for thread in threads + [ticker]:
    thread.join()
assert results.pop("total") == ITEMS and len(results) == ITEMS
print(hashlib.sha256(repr(sorted(results.items())).encode()).hexdigest())
