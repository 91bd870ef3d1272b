"""The HTTP side of a delivery: one POST, within a deadline, to an address that the egress policy lets through.

Whatever the receiver does, it costs no more than a connection and a kilobyte until the deadline. No redirect is
followed, no cookie kept, nothing decompressed.
"""

import asyncio
import ssl
import time

import httpx

from service.errors import BadInput
from service.sentry.dialling import CertificateRefused
from service.sentry.egress import EgressPolicy
from service.sentry.transport import create_transport
from service.webhooks.answers import LONGEST_ANSWER, Answer, Problem, clean_answer
from service.webhooks.message import Message
from service.webhooks.schedule import read_asked
from service.webhooks.target import Target

DEADLINE = 15.0
"""Seconds that a receiver has to answer, from the look-up of its name to its status. Standard Webhooks: 15 to 30."""

_MOST_BYTES = 2**15  # of an answer with its head, the rest is never read
_BODY_SECONDS = 1.0  # for the beginning of the answer, once its status is known

# The first that an error is of; TransportError is all of httpx's.
_PROBLEMS: dict[type[Exception], Problem] = {
    TimeoutError: Problem.TIMEOUT,
    BadInput: Problem.REFUSED,  # also what the policy says
    CertificateRefused: Problem.CERTIFICATE,
    httpx.ConnectError: Problem.UNREACHABLE,
    httpx.ConnectTimeout: Problem.UNREACHABLE,
    httpx.RemoteProtocolError: Problem.GARBLED,
    httpx.TransportError: Problem.LOST,
}


class Sender:
    """Sends messages, on one event loop, at most ``limit`` at once to one host.

    ``tls`` replaces the system's authorities, in tests.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        limit: int,
        user_agent: str,
        deadline: float = DEADLINE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = create_transport(policy, limit=limit, tls=tls, most_bytes=_MOST_BYTES)
        self._policy = policy
        self._user_agent = user_agent
        self._deadline = deadline

    async def send(self, url: str, message: Message) -> Answer:
        """Send a message once. Raises nothing but what is unforeseen: what goes wrong is the answer."""
        try:
            async with asyncio.timeout(self._deadline):
                response = await self._post(url, message)
        except tuple(_PROBLEMS) as error:
            return Answer(problem=next(problem for kind, problem in _PROBLEMS.items() if isinstance(error, kind)))
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - of an asynchronous transport
        try:
            beginning = await _read_beginning(response.stream)
        finally:
            await response.stream.aclose()
        return Answer(
            status=response.status_code,
            text=clean_answer(beginning),
            asked=read_asked(response.status_code, response.headers, time.time()),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _post(self, url: str, message: Message) -> httpx.Response:
        target = Target.parse(url)
        self._policy.check_origin(target.origin)
        headers = {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity", **message.headers}
        request = httpx.Request("POST", target.url, headers=headers, content=message.body)
        return await self._transport.handle_async_request(request)


async def _read_beginning(stream: httpx.AsyncByteStream) -> bytes:
    """As much as comes soon. The status has been said: a body that is cut off, or never ends, changes nothing."""
    found = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in stream:
                found += chunk[: LONGEST_ANSWER - len(found)]
                if len(found) >= LONGEST_ANSWER:
                    break
    except (TimeoutError, httpx.TransportError):
        pass
    return bytes(found)
