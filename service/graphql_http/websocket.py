"""GraphQL over WebSocket: the sub-protocol ``graphql-transport-ws``.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Dead peers are found by the WebSocket's own pings (RFC
6455, 5.5.2), which the server below sends.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.errors import RequestTooLarge, ServiceError, Unauthenticated
from service.graphql_http.documents import Operation
from service.graphql_http.graph import Graph, Prepared, RequestContext, StillWriting
from service.graphql_http.origins import check_origin
from service.graphql_http.problems import MalformedRequest, ServiceStops
from service.graphql_http.requests import GraphQLRequest, parse_json
from service.graphql_http.responses import encode_payload, find_codes, format_error, format_problem
from service.graphql_http.sessions import Breakable, Sessions
from service.graphql_http.subscriptions import Subscriptions
from service.tenants.caller import Caller, KnowsCallers

PROTOCOL = "graphql-transport-ws"

_MAX_OPERATIONS = 64
_MAX_ID = 200
_MAX_REASON = 123  # bytes; RFC 6455, 5.5

_encoder = msgspec.json.Encoder()

ContextT = TypeVar("ContextT", bound=RequestContext)


class SocketClosed(Exception):
    """The socket is to be closed, for this reason of the protocol's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class SocketEndpoint(Generic[ContextT]):
    """The ASGI application behind the WebSocket route."""

    def __init__(
        self,
        graph: Graph[ContextT],
        subscriptions: Subscriptions[ContextT],
        sessions: Sessions,
        *,
        authenticator: KnowsCallers,
        origins: Collection[str],
        max_bytes: int,
    ) -> None:
        """``origins`` are those of pages that may connect; ``max_bytes`` limits a message."""
        self.graph = graph
        self.subscriptions = subscriptions
        self.sessions = sessions
        self.authenticator = authenticator
        self.max_bytes = max_bytes
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end."""
        socket = WebSocket(scope, receive, send)
        try:
            check_origin(socket.headers, self._origins)
            self.sessions.require_room(None)
        except ServiceError as error:
            await socket.send_denial_response(JSONResponse({"errors": format_problem(error)}, error.status))
            return
        try:
            if PROTOCOL not in scope["subprotocols"]:
                await socket.accept()
                await socket.close(4406, "Subprotocol not acceptable")
                return
            await socket.accept(PROTOCOL)
            await _Session(self, socket).run()
        except WebSocketDisconnect:
            pass


@dataclass(slots=True)
class _Outcome:
    """How an operation went so far."""

    operation: Operation | None = None
    has_run: bool = False
    codes: dict[str, None] = field(default_factory=dict)

    def note(self, codes: Iterable[str]) -> None:
        self.codes.update(dict.fromkeys(codes))


class _Session(Generic[ContextT]):
    """One socket, from its acceptance to its end."""

    __slots__ = ("_endpoint", "_listening", "_operations", "_socket", "_tasks", "_writing", "authorization", "caller")

    def __init__(self, endpoint: SocketEndpoint[ContextT], socket: WebSocket) -> None:
        self._endpoint = endpoint
        self._socket = socket
        self._listening = Breakable()
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self.authorization = socket.headers.get("authorization")
        self.caller: Caller | None = None

    def end(self, why: ServiceError) -> None:
        """End all operations and close the socket, telling the client why."""
        self._listening.break_off(why)

    async def run(self) -> None:
        """Serve the socket. Its operations end with it; a mutation that has begun is never broken off half-way."""
        closing: SocketClosed | None = None
        try:
            with self._endpoint.sessions.opened(self):
                async with self._listening:
                    await self._listen()
        except SocketClosed as error:
            closing = error
        finally:
            running = list(self._operations)
            for task in self._tasks - self._writing:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        why = self._listening.why
        if isinstance(why, ServiceStops):
            closing = SocketClosed(1012, "Service restart")
        elif why is not None:
            for operation_id in running:
                await self._send_errors(operation_id, format_problem(why))
            closing = SocketClosed(4403, "Forbidden")
        if closing is not None:
            await self._socket.close(closing.code, _shorten(closing.reason))

    async def _listen(self) -> NoReturn:
        try:
            async with asyncio.timeout(self._endpoint.sessions.init_seconds) as clock:
                while self.caller is None:
                    await self._take(await self._receive())
        except TimeoutError:
            if not clock.expired():
                raise
            raise SocketClosed(4408, "Connection initialisation timeout") from None
        while True:
            await self._take(await self._receive())

    async def _receive(self) -> dict[str, Any]:
        """The next message. Raises :class:`SocketClosed` where it is no JSON object."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        if text is None:
            raise SocketClosed(4400, "Messages are text.")
        data = text.encode()
        if len(data) > self._endpoint.max_bytes:
            raise SocketClosed(1009, f"Messages have at most {self._endpoint.max_bytes} bytes.")
        try:
            value = parse_json(data, "The message")
        except MalformedRequest as error:
            raise SocketClosed(4400, error.message) from None
        if not isinstance(value, dict):
            raise SocketClosed(4400, "Messages are JSON objects.")
        return value

    async def _take(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "connection_init":
                await self._initialise(_payload(message))
            case "ping":
                payload = _payload(message)
                await self._send({"type": "pong", "payload": payload} if payload else {"type": "pong"})
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(_id(message), _payload(message))
            case "complete":
                task = self._operations.pop(_id(message), None)
                if task is not None and task not in self._writing:
                    task.cancel()
            case _:
                raise SocketClosed(4400, "Messages are of one of the types that the protocol names.")

    async def _initialise(self, payload: dict[str, Any]) -> None:
        """Know the caller: by the payload, which is all that a browser can send, or else by the handshake's header."""
        if self.caller is not None:
            raise SocketClosed(4429, "Too many initialisation requests")
        given = next((value for name, value in payload.items() if name.lower() == "authorization"), None)
        if isinstance(given, str):
            self.authorization = given
        try:
            caller = await self._endpoint.authenticator.authenticate(self.authorization)
            self._endpoint.sessions.require_room(caller, but=self)
            self.caller = caller
        except Unauthenticated:
            raise SocketClosed(4403, "Forbidden") from None
        except ServiceError as error:  # it cannot be known now
            raise SocketClosed(1013, error.message) from None
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, operation_id: str, payload: dict[str, Any]) -> None:
        if self.caller is None:
            raise SocketClosed(4401, "Unauthorized")
        if operation_id in self._operations:
            raise SocketClosed(4409, f"Subscriber for {operation_id} already exists")
        try:
            request = GraphQLRequest.parse(payload)
        except MalformedRequest as error:
            raise SocketClosed(4400, error.message) from None
        if len(self._tasks) >= _MAX_OPERATIONS:
            problem = RequestTooLarge(
                f"{_MAX_OPERATIONS} operations run on this socket already.", cure="Complete some, or connect once more."
            )
            await self._send_errors(operation_id, format_problem(problem))
            return
        task = asyncio.create_task(self._operate(operation_id, request))
        self._operations[operation_id] = task
        self._tasks.add(task)

    async def _operate(self, operation_id: str, request: GraphQLRequest) -> None:
        """Run one operation, and say how it ended."""
        outcome, started = _Outcome(), time.perf_counter()
        try:
            await self._run(operation_id, request, outcome)
        except WebSocketDisconnect:
            pass
        finally:
            self._forget(operation_id)
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - for the types
            self._tasks.discard(task)
            self._writing.discard(task)
            self._endpoint.graph.observe(
                outcome.operation,
                list(outcome.codes),
                has_run=outcome.has_run,
                seconds=time.perf_counter() - started,
            )

    async def _run(self, operation_id: str, request: GraphQLRequest, outcome: _Outcome) -> None:
        graph = self._endpoint.graph
        try:
            # As for a request of its own: the caller's rights may have changed since the socket was opened.
            caller = await self._endpoint.authenticator.authenticate(self.authorization)
            prepared = graph.prepare(caller, request)
            outcome.operation = prepared.operation
            if prepared.operation.is_subscription:
                await self._stream(operation_id, prepared, outcome)
            else:
                await self._answer(operation_id, prepared, outcome)
        except StillWriting as still:
            outcome.note([still.problem.code])
            await self._end(operation_id, format_problem(still.problem))
            await asyncio.wait({still.writing})
        except WebSocketDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the last stop: what is unforeseen is logged and masked
            errors = format_error(error)
            outcome.note(each["extensions"]["code"] for each in errors)
            await self._end(operation_id, errors)
        else:
            await self._end(operation_id)

    async def _stream(self, operation_id: str, prepared: Prepared, outcome: _Outcome) -> None:
        async with aclosing(await self._endpoint.subscriptions.open(prepared)) as subscription:
            outcome.has_run = True
            async for payload in subscription:
                outcome.note(payload.codes)
                await self._send_next(operation_id, payload.json)

    async def _answer(self, operation_id: str, prepared: Prepared, outcome: _Outcome) -> None:
        task = asyncio.current_task()
        if not prepared.operation.is_query and task is not None:
            self._writing.add(task)
        payload = await self._endpoint.graph.answer(prepared)
        outcome.has_run = True
        outcome.note(find_codes(payload))
        await self._send_next(operation_id, encode_payload(payload)[0])

    async def _end(self, operation_id: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        """Say that an operation has ended, perhaps by errors. Its id is free then."""
        self._forget(operation_id)
        if errors:
            await self._send_errors(operation_id, errors)
        else:
            await self._send({"id": operation_id, "type": "complete"})

    def _forget(self, operation_id: str) -> None:
        """Free an operation's id, unless a later one has it."""
        if self._operations.get(operation_id) is asyncio.current_task():
            del self._operations[operation_id]

    async def _send_next(self, operation_id: str, json: bytes) -> None:
        await self._send({"id": operation_id, "type": "next", "payload": msgspec.Raw(json)})

    async def _send_errors(self, operation_id: str, errors: Sequence[dict[str, Any]]) -> None:
        await self._send({"id": operation_id, "type": "error", "payload": errors})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(_encoder.encode(message).decode())


def _id(message: dict[str, Any]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 1 <= len(found) <= _MAX_ID:
        raise SocketClosed(4400, f"`id` is a text of 1 to {_MAX_ID} characters.")
    return found


def _payload(message: dict[str, Any]) -> dict[str, Any]:
    found = message.get("payload")
    if found is not None and not isinstance(found, dict):
        raise SocketClosed(4400, "`payload` is an object.")
    return found or {}


def _shorten(reason: str) -> str:
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
