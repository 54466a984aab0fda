"""A client of asyncio_server.py: asyncio_client.py PORT.

Adds numbers in order. After a restore the server must know a beginning of them, and no fewer than the last time; the rest
is added again.
"""
import hashlib
import socket
import sys
import time

NUMBERS, PATIENCE_S = 8000, 60
PORT = int(sys.argv[1])

# What the server must say when it has the first n numbers.
STATES, history = [], hashlib.sha256()
for n in range(NUMBERS + 1):
    STATES.append(f"{n} {history.hexdigest()}\n".encode())
    history.update(b"%d\n" % n)


def ask(file, request):
    file.write(request)
    file.flush()
    answer = file.readline()
    if not answer.endswith(b"\n"):
        raise ConnectionResetError
    return answer


def connect(deadline):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", PORT), timeout=PATIENCE_S).makefile("rwb")
        except ConnectionError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)


def main():
    least = 0
    while True:
        try:
            with connect(time.monotonic() + PATIENCE_S) as file:
                state = ask(file, b"state\n")
                known = int(state.split()[0])
                assert state == STATES[known] and known >= least, (state, least)
                least = known
                for number in range(known, NUMBERS):
                    assert ask(file, b"add %d\n" % number) == STATES[number + 1], number
                    if number % 10 == 0:
                        time.sleep(0.001)
                assert ask(file, b"stop\n") == STATES[NUMBERS]
                return
        except ConnectionError:
            pass


main()
