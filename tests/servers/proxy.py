"""An HTTP proxy in a process of its own that adds latency and makes a share of the requests fail.

    python proxy.py PORT UPSTREAM_PORT LATENCY_MS FAULTS SEED

A fault is one of: 503 without asking the server, a reset, a body cut in half, a long delay. Only GET fails by reset or cut: a write
whose answer is lost is another matter, tested on its own.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 1.0  # s, a delay that is a fault
CHUNK = 1 << 18


@contextmanager
def proxy(endpoint: str, *, latency_ms: float = 0.0, faults: float = 0.0, seed: int = 0) -> Iterator[str]:
    """Run the proxy in front of `endpoint`; yield its own endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    upstream = endpoint.rsplit(":", 1)[1]
    process = subprocess.Popen([sys.executable, __file__, str(port), upstream, str(latency_ms), str(faults), str(seed)])
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the proxy does not answer")


class Proxy:
    """Forwards requests one by one, connection by connection."""

    def __init__(self, upstream: int, latency: float, faults: float, seed: int):
        self.upstream, self.latency, self.faults = upstream, latency, faults
        self.random = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, over one connection to the server."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 22)
        try:
            while await self._exchange(reader, writer, up_reader, up_writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            up_writer.close()
            writer.close()

    async def _exchange(self, reader, writer, up_reader, up_writer) -> bool:
        """Forward one request and its answer; say whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"\r\nexpect: 100-continue" in head.lower():
            head = re.sub(rb"(?i)\r\nexpect: 100-continue", b"", head)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(_length(head))
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = self._fault(head)
        if fault == "503":
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "delay":
            await asyncio.sleep(LONG)
        up_writer.write(head + body)
        await up_writer.drain()
        answer = await up_reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if head.startswith(b"HEAD") or answer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")):
            await writer.drain()
            return True
        return await self._forward_body(answer, writer, up_reader, cut=fault == "cut")

    async def _forward_body(self, answer: bytes, writer, up_reader, *, cut: bool) -> bool:
        if b"transfer-encoding: chunked" in answer.lower():
            while True:
                line = await up_reader.readuntil(b"\r\n")
                writer.write(line + await up_reader.readexactly(int(line, 16) + 2))
                if int(line, 16) == 0:
                    await writer.drain()
                    return True
        length = _length(answer)
        left = length // 2 if cut else length
        while left:
            data = await up_reader.read(min(left, CHUNK))
            if not data:
                raise ConnectionError
            writer.write(data)
            await writer.drain()
            left -= len(data)
        if cut and length:
            writer.transport.abort()
            return False
        await writer.drain()
        return True

    def _fault(self, head: bytes) -> str | None:
        if self.random.random() >= self.faults:
            return None
        return self.random.choice(("503", "reset", "cut", "delay") if head.startswith(b"GET") else ("503", "delay"))


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


async def _main(port: int, upstream: int, latency_ms: float, faults: float, seed: int) -> None:
    forwarder = Proxy(upstream, latency_ms / 1000, faults, seed)
    server = await asyncio.start_server(forwarder.serve, "127.0.0.1", port, limit=1 << 22)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
