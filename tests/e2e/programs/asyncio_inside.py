"""An asyncio server and its clients in one process: streams on loopback, timers, an executor, a subprocess-free loop.

A connection reads as closed after a restore, also one that both ends are ours; then the client connects again and
repeats the request that was not answered.
"""
import asyncio
import hashlib

REQUESTS, CLIENTS = 800, 8


async def serve(reader, writer):
    loop = asyncio.get_running_loop()
    try:
        while line := await reader.readline():
            digest = await loop.run_in_executor(None, hashlib.sha256, line * 2000)
            writer.write(digest.hexdigest().encode() + b"\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def ask(path, number, answers):
    reader = writer = None
    request = 0
    while request < REQUESTS:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(*path)
            writer.write(b"%d %d\n" % (number, request))
            await writer.drain()
            answer = await asyncio.wait_for(reader.readline(), 20)
            if not answer.endswith(b"\n"):
                raise ConnectionResetError
        except ConnectionError:
            if writer is not None:
                writer.close()
            writer = None
            continue
        expected = hashlib.sha256(b"%d %d\n" % (number, request) * 2000).hexdigest()
        assert answer.decode().strip() == expected, (number, request)
        answers.append((number, request, expected))
        request += 1
        if request % 10 == 0:
            await asyncio.sleep(0.01)
    writer.close()


async def main():
    answers = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    path = server.sockets[0].getsockname()
    await asyncio.gather(*(ask(path, number, answers) for number in range(CLIENTS)))
    server.close()
    print(len(answers), hashlib.sha256(repr(sorted(answers)).encode()).hexdigest())


asyncio.run(main())
