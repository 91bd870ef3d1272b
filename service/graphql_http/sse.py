"""Answers as streams of server-sent events: GraphQL over SSE in its "distinct connections" mode.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from starlette.types import Receive, Scope, Send

from service.errors import ServiceError
from service.graphql_http.negotiation import EVENT_STREAM
from service.graphql_http.problems import ServiceStops
from service.graphql_http.requests import wait_for_disconnect
from service.graphql_http.responses import encode_payload, format_error, format_problem
from service.graphql_http.sessions import Breakable, Sessions
from service.graphql_http.subscriptions import Subscription
from service.tenants.caller import Caller

HEADERS = {
    "content-type": f"{EVENT_STREAM}; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "vary": "accept",
    "x-accel-buffering": "no",  # nginx would wait for more
    "x-content-type-options": "nosniff",
}

_COMMENT = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


def encode_next(json: bytes) -> bytes:
    """A ``next`` event: the JSON of a result, which may have lines as Sentry's own has."""
    return b"event: next\n%b\n" % b"".join(b"data: %b\n" % line for line in _LINE_ENDS.split(json))


def encode_whole(json: bytes) -> bytes:
    """The stream of an answer that is not a subscription's."""
    return encode_next(json) + _COMPLETE


class EventStream:
    """The response of a subscription; it has been opened, and is closed with the response.

    The stream ends with ``complete``, after a ``next`` with the error where there was one. Where the process stops it
    just ends, which makes clients connect again. ``done`` is told the codes of all errors.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        caller: Caller,
        authorization: str | None,
        sessions: Sessions,
        done: Callable[[Sequence[str]], None],
    ) -> None:
        self.caller: Caller | None = caller
        self.authorization = authorization
        self._subscription = subscription
        self._sessions = sessions
        self._done = done
        self._sending = Breakable()
        self._is_sending = False
        self._codes: dict[str, None] = {}

    def end(self, why: ServiceError) -> None:
        """End the stream, telling the client why."""
        self._sending.break_off(why)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the stream until it ends or the client leaves."""
        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        try:
            async with aclosing(self._subscription):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await self._send(send, _COMMENT)  # so that the client knows
                with self._sessions.opened(self):
                    last = await self._send_events(receive, send)
            await send({"type": "http.response.body", "body": last, "more_body": False})
        finally:
            self._done(list(self._codes))

    async def _send_events(self, receive: Receive, send: Send) -> bytes:
        """Send events while there are any: what is left to be sent."""
        watching = asyncio.create_task(self._watch(receive, send))
        try:
            async with self._sending:
                async for payload in self._subscription:
                    self._codes.update(dict.fromkeys(payload.codes))
                    await self._send(send, encode_next(payload.json))
        except Exception as error:  # noqa: BLE001 - the last stop: what is unforeseen is logged and masked
            return self._encode_end(format_error(error))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if not self._sending.is_broken_off:
            return _COMPLETE
        why = self._sending.why
        return b"" if why is None or isinstance(why, ServiceStops) else self._encode_end(format_problem(why))

    def _encode_end(self, errors: Sequence[dict[str, Any]]) -> bytes:
        self._codes.update(dict.fromkeys(error["extensions"]["code"] for error in errors))
        return encode_whole(encode_payload({"errors": errors})[0])

    async def _watch(self, receive: Receive, send: Send) -> None:
        """Notice that the client is gone, and keep the stream from being silent."""
        while True:
            try:
                async with asyncio.timeout(self._sessions.heartbeat_seconds):
                    await wait_for_disconnect(receive)
            except TimeoutError:
                if not self._is_sending:
                    await send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
            else:
                self._sending.break_off()
                return

    async def _send(self, send: Send, body: bytes) -> None:
        self._is_sending = True
        await send({"type": "http.response.body", "body": body, "more_body": True})
        self._is_sending = False
