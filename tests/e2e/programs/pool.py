"""multiprocessing: workers, queues, shared memory. Workers that were lost are started again with what they had to do."""
import concurrent.futures
import multiprocessing


def square(number):
    total = 0
    for i in range(20000):
        total += (number * i) % 7
    return number * number + total


def main():
    todo, results = set(range(600)), {}
    while todo:
        batch = sorted(todo)[:20]
        try:
            with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
                for number, result in zip(batch, pool.map(square, batch)):
                    results[number] = result
                    todo.discard(number)
        except concurrent.futures.process.BrokenProcessPool:
            pass
    for number in sorted(results):
        print(number, results[number])


main()
