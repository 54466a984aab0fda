"""Children of the program: those that ran at the kill are gone, their waiter sees SIGKILL and starts them again."""
import signal
import subprocess
import sys
import threading

COUNT, THREADS = 60, 2
lost = []
lines = {}


def ask(number):
    """The answer of a child that computes; again when it was lost."""
    while True:
        child = subprocess.Popen(["sh", "-c", "read x; sleep 0.02; echo $((x * x))"], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            answer, _ = child.communicate("%d\n" % number)
        except BrokenPipeError:
            answer = ""
        status = child.wait()
        if status == 0 and answer:
            return answer.strip()
        assert status in (0, -signal.SIGKILL, -signal.SIGPIPE), status
        lost.append(number)


def work(first):
    for number in range(first, COUNT * THREADS, THREADS):
        lines[number] = ask(number)


threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for number in sorted(lines):
    print(number, lines[number])
print(len(lost), "children lost", file=sys.stderr)
