"""A client of redis-server: redis.py PORT MODE [SECONDS], MODE one of memory, save (with background saves), append (append-only file, rewritten in the background).

Writes batches of keys as transactions and counts the batches in a key of their own. When the server was killed and
restored, the connection is lost: then it connects again, and the server must have exactly the batches up to some
number, each whole, and no fewer than the last time. In between redis-benchmark loads another database. At the end all
keys are checked, and what was saved on disk is checked by the server's own tools and loaded by a second server.

Ends after BATCHES batches. With SECONDS it ends after that time, and batches beyond the first BATCHES (fewer then, so
that there is soon as much data as there will be) write over older ones.
"""
import os
import socket
import subprocess
import sys
import time

PORT, MODE = int(sys.argv[1]), sys.argv[2]
DEADLINE = time.monotonic() + int(sys.argv[3]) if len(sys.argv) > 3 else None
BATCHES, KEYS, PATIENCE_S = 300 if DEADLINE is None else 100, 100, 60


def finished(batches):
    return batches >= BATCHES if DEADLINE is None else batches > 0 and time.monotonic() > DEADLINE


def value(batch, key):
    return b"%d:%d:" % (batch, key) + b"v" * (batch * 37 % 400 + key)


class Error(Exception):
    """An answer that begins with -."""


class Connection:
    """The protocol, in pipelines."""

    def __init__(self, path):
        self.socket = socket.create_connection(path) if isinstance(path, tuple) else socket.socket(socket.AF_UNIX)
        if not isinstance(path, tuple):
            self.socket.connect(path)
        self.socket.settimeout(PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        data = self.file.read(int(rest) + 2)
        if len(data) != int(rest) + 2:
            raise ConnectionResetError
        return data[:-2]

    def ask_all(self, commands):
        message = []
        for command in commands:
            words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
            message.append(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        self.socket.sendall(b"".join(message))
        return [self.read() for _ in commands]

    def ask(self, *command):
        return self.ask_all([command])[0]


def connect(path):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = Connection(path)
            connection.ask("PING")
            return connection
        except (ConnectionError, FileNotFoundError, Error) as error:
            assert not isinstance(error, Error) or str(error).startswith("LOADING"), error
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)


def check(connection, least):
    """The number of whole batches there; nothing else may be there."""
    batches = int(connection.ask("GET", "batches") or 0)
    assert batches >= least, (batches, least)
    size = connection.ask("DBSIZE")
    assert size == min(batches, BATCHES) * KEYS + (batches > 0), (size, batches)
    for batch in range(max(0, batches - BATCHES), batches):
        values = connection.ask("MGET", *(f"{batch % BATCHES}:{key}" for key in range(KEYS)))
        assert values == [value(batch, key) for key in range(KEYS)], batch
    return batches


def write(connection, batch):
    commands = [("MULTI",)]
    commands += [("SET", f"{batch % BATCHES}:{key}", value(batch, key)) for key in range(KEYS)]
    commands += [("SET", "batches", batch + 1), ("EXEC",)]
    assert connection.ask_all(commands)[-1] == [b"OK"] * (KEYS + 1)


def save_in_background(connection, batch):
    if MODE == "memory" or batch % 20 != 19:
        return
    try:
        connection.ask("BGSAVE" if MODE == "save" else "BGREWRITEAOF")
    except Error as error:
        assert "already in progress" in str(error), error


class Benchmark:
    """redis-benchmark on another database; it ends when the server is killed, and is started again."""

    def __init__(self):
        self.process = None

    def keep_running(self):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                ["redis-benchmark", "-p", str(PORT), "--dbnum", "1", "-q", "-c", "4", "-n", "2000", "-r", "2000",
                 "-t", "set,incr,lpush,lpop,zadd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def write_all(least):
    """Writes what is missing; the number of batches the server had after it was restored last."""
    with Benchmark() as benchmark:
        while True:
            connection = connect(("127.0.0.1", PORT))
            try:
                done = least = check(connection, least)
                while not finished(done):
                    benchmark.keep_running()
                    write(connection, done)
                    save_in_background(connection, done)
                    done += 1
                    time.sleep(0.002)
                return connection, least
            except ConnectionError:
                pass


def save(connection):
    """The last state to the file, when no child is about to write it."""
    while b"rdb_bgsave_in_progress:1" in connection.ask("INFO", "persistence"):
        time.sleep(0.01)
    assert connection.ask("SAVE") == b"OK"


def check_second_server(arguments, batches):
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", "second", "--save", ""] + arguments,
                              stdout=subprocess.DEVNULL)
    try:
        assert check(connect("second"), batches) == batches
    finally:
        server.kill()
        server.wait()


def stop(connection):
    try:
        connection.ask("SHUTDOWN", "NOSAVE")
    except ConnectionError:
        pass


def finish(connection):
    """The number of batches; None when the server was killed meanwhile and does not have them all."""
    try:
        batches = check(connection, 0)
        if not finished(batches):
            return None
        answer = subprocess.run(["redis-cli", "-p", str(PORT), "GET", "batches"], check=True, capture_output=True)
        assert answer.stdout == b"%d\n" % batches, answer.stdout
        if MODE == "save":
            save(connection)
    except ConnectionError:
        return None
    stop(connection)
    return batches


def main():
    least = 0
    while True:
        connection, least = write_all(least)
        batches = finish(connection)
        if batches is not None:
            break
    if MODE == "append":
        manifest = os.path.join("appendonlydir", "appendonly.aof.manifest")
        subprocess.run(["redis-check-aof", manifest], check=True, stdout=subprocess.DEVNULL)
        check_second_server(["--appendonly", "yes"], batches)
    elif MODE == "save":
        subprocess.run(["redis-check-rdb", "dump.rdb"], check=True, stdout=subprocess.DEVNULL)
        check_second_server([], batches)


main()
