"""How fast webhooks are acknowledged: so many a second, at fixed times, whether or not those before were answered."""

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field

from bench.findings import Finding, p99
from bench.payloads import dump, issue_hook

_CONNECTIONS = 32
MUST_P99 = 0.050
MUST_LONGEST = 1.0


@dataclass
class Acknowledged:
    """Seconds from when each webhook was to be sent to its 2xx, and how many got another answer."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    def judge(self, engine: str, rate: int) -> Finding:
        """The figures beside what they must be."""
        median, longest = sorted(self.seconds)[len(self.seconds) // 2], max(self.seconds)
        return Finding(
            f"{len(self.seconds)} webhooks at {rate} a second acknowledged, {engine}",
            f"p50 {median * 1000:.1f} ms, p99 {p99(self.seconds) * 1000:.1f} ms, longest {longest * 1000:.0f} ms, "
            f"{self.refused} refused",
            f"p99 {MUST_P99 * 1000:.0f} ms, longest {MUST_LONGEST * 1000:.0f} ms, none refused",
            not self.refused and p99(self.seconds) <= MUST_P99 and longest <= MUST_LONGEST,
        )


async def measure(port: int, path: str, secret: str, *, rate: int, seconds: float) -> Acknowledged:
    """Send signed webhooks of issues to a receiver."""
    found = Acknowledged()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                due, request = await waiting.get()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 2" not in head[:13]:
                    found.refused += 1
                else:
                    found.seconds.append(time.perf_counter() - due)
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                waiting.task_done()
        finally:
            writer.close()

    workers = [asyncio.create_task(work()) for _ in range(_CONNECTIONS)]
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        waiting.put_nowait((due, build_request(port, path, secret, number)))
    joined = asyncio.ensure_future(waiting.join())
    await asyncio.wait([joined, *workers], return_when=asyncio.FIRST_COMPLETED)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    if not joined.done():
        raise SystemExit("the service closed a connection while webhooks came")
    return found


def build_request(port: int, path: str, secret: str, number: int) -> bytes:
    """One webhook, as Sentry sends it."""
    body = dump(issue_hook(number))
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Request-ID: {number:032x}\r\nSentry-Hook-Resource: issue\r\nSentry-Hook-Timestamp: {int(time.time())}\r\n"
        f"Sentry-Hook-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
