"""A server that remembers numbers: asyncio_server.py PORT. Lines `add N`, `state`, `stop`; see asyncio_client.py."""
import asyncio
import hashlib
import sys

numbers = []
history = hashlib.sha256()
stopping = asyncio.Event()


def obey(words):
    if words[0] == "add":
        numbers.append(int(words[1]))
        history.update(b"%d\n" % numbers[-1])
    elif words[0] == "stop":
        stopping.set()
    return f"{len(numbers)} {history.hexdigest()}\n"


async def serve(reader, writer):
    try:
        while line := await asyncio.wait_for(reader.readline(), 3600):
            writer.write(obey(line.decode().split()).encode())
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await stopping.wait()
    server.close()
    print(len(numbers), history.hexdigest())


asyncio.run(main())
