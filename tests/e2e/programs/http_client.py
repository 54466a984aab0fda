"""A client of a web server: http_client.py PORT FILE STORE, FILE one that the server has in its root.

Requests, on one connection for as long as it lives, parts of the file, the whole compressed, and answers the server
makes up, and checks each byte. Connects again when the server was killed. Stops it with SIGTERM at the end.
"""
import http.client
import os
import signal
import sys
import time
import zlib

PORT, FILE, STORE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
REQUESTS, PATIENCE_S = 8000, 60


def answer(connection, path, headers, status):
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert response.status == status, (path, response.status)
    return response.read(), response


def ask(connection, number, contents, path):
    if number % 3 == 0:
        start = number * 7919 % len(contents)
        body, _ = answer(connection, path, {"Range": f"bytes={start}-{start + 5000}"}, 206)
        assert body == contents[start:start + 5001], number
    elif number % 100 == 1:
        body, response = answer(connection, path, {"Accept-Encoding": "gzip"}, 200)
        assert response.getheader("Content-Encoding") == "gzip", number
        assert zlib.decompress(body, wbits=31) == contents, number
    else:
        body, _ = answer(connection, f"/words?n={number}", {}, 200)
        assert body == b"words %d\n" % number, body


def server_pid():
    try:
        with open(os.path.join(STORE, "pid")) as file:
            return int(file.read())
    except FileNotFoundError:
        with open("nginx.pid") as file:
            return int(file.read())


def main():
    with open(FILE, "rb") as file:
        contents = file.read()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
    number, deadline, connections = 0, time.monotonic() + PATIENCE_S, 0
    while number < REQUESTS:
        try:
            connections += connection.sock is None
            ask(connection, number, contents, "/" + os.path.basename(FILE))
            number += 1
            deadline = time.monotonic() + PATIENCE_S
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline, "the server does not answer"
            connection.close()
            time.sleep(0.005)
    assert connections < REQUESTS / 10, connections
    os.kill(server_pid(), signal.SIGTERM)


main()
