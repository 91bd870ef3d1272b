"""Subscriptions, whatever way they are sent by: opened, counted, and resolved once for all who ask the same.

https://spec.graphql.org/draft/#sec-Subscription
"""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from cachetools import LRUCache
from graphql import ExecutionResult, GraphQLError
from graphql.execution.executor import Executor

from service.errors import DeadlineExceeded, ServiceError, TooManySubscriptions
from service.graphql_http.execution import execute_event, open_source
from service.graphql_http.graph import Graph, Prepared, RequestContext
from service.graphql_http.problems import InvalidVariables, OperationRefused, SubscriptionsOff
from service.graphql_http.responses import (
    build_payload,
    encode_payload,
    find_cause,
    find_codes,
    format_problem,
    is_about_input,
)
from service.graphql_http.sessions import has_room
from service.tasks import Coalescer

_REMEMBERED_BYTES = 4 * 2**20

ContextT = TypeVar("ContextT", bound=RequestContext)


@dataclass(frozen=True, slots=True)
class Payload:
    """A result as JSON, and its errors' codes."""

    json: bytes
    codes: tuple[str, ...] = ()


class _Group:
    """Those who subscribed to the same by the same rights: one event's result is the same for all of them."""

    __slots__ = ("executor", "members", "prepared")

    def __init__(self, prepared: Prepared, executor: "Executor[Any]") -> None:
        self.prepared = prepared
        self.executor = executor
        self.members = 0


class Subscriptions(Generic[ContextT]):
    """All subscriptions of a process: at most ``limit`` at once.

    An event that has an ``id`` is resolved once for all who would get the same; its result is remembered until later
    ones need the room.
    """

    def __init__(self, graph: Graph[ContextT], *, limit: int) -> None:
        self._graph = graph
        self._limit = limit
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._running: Coalescer[tuple[_Group, str], Payload] = Coalescer()
        self._recent: LRUCache[tuple[_Group, str], Payload] = LRUCache(
            _REMEMBERED_BYTES, getsizeof=lambda payload: len(payload.json) + 500
        )
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many are open."""
        return self._counts.total()

    async def open(self, prepared: Prepared) -> "Subscription":
        """Open a subscription, which must be closed.

        Raises :class:`TooManySubscriptions`, :class:`OperationRefused` where it cannot be opened as asked for, and
        whatever else its resolver raises.
        """
        if not self._limit:
            raise OperationRefused(SubscriptionsOff("Subscriptions are off."))
        tenant_id = prepared.caller.tenant_id
        if not has_room(self._counts[tenant_id], self.count, self._limit):
            raise TooManySubscriptions(f"There are {self.count} subscriptions open here already.")
        self._counts[tenant_id] += 1
        try:
            graph = self._graph
            context = graph.get_context(prepared.caller, prepared.request)
            executor = graph.runner.build(prepared.document, prepared.operation, prepared.request, context)
            source = await self._open_source(executor)
        except BaseException:
            self._leave(tenant_id)
            raise
        executor.context_value = None  # each event has a context of its own
        key = _find_key(prepared)
        group = self._groups.setdefault(key, _Group(prepared, executor))
        group.members += 1
        return Subscription(self, key, group, source)

    def close(self, key: tuple[object, ...], group: _Group) -> None:
        """Count one less."""
        self._leave(group.prepared.caller.tenant_id)
        group.members -= 1
        if not group.members:
            del self._groups[key]

    def _leave(self, tenant_id: str) -> None:
        self._counts[tenant_id] -= 1
        if not self._counts[tenant_id]:
            del self._counts[tenant_id]

    async def resolve(self, group: _Group, event: object) -> Payload:
        """The result of an event."""
        event_id = getattr(event, "id", None)
        if group.members == 1 or not isinstance(event_id, str):
            return await self._execute(group, event)
        key = (group, event_id)
        found = self._recent.get(key)
        if found is None:
            found = await self._running.run(key, lambda: self._execute(group, event))
            if len(found.json) + 500 <= self._recent.maxsize:
                self._recent[key] = found
        return found

    async def _open_source(self, executor: "Executor[Any]") -> AsyncIterator[Any]:
        try:
            with self._graph.deadlines.limit() as clock:
                source = await open_source(executor)
        except TimeoutError:
            if not clock.is_expired:
                raise
            raise self._deadline_exceeded() from None
        if not isinstance(source, ExecutionResult):
            return aiter(source)
        error = (source.errors or [GraphQLError("There is no source of events.")])[0]
        cause = find_cause(error)
        if isinstance(cause, GraphQLError) and is_about_input(cause):
            raise OperationRefused(InvalidVariables([error]))
        if isinstance(cause, ServiceError):
            raise OperationRefused(cause)
        raise cause

    async def _execute(self, group: _Group, event: object) -> Payload:
        context = self._graph.get_context(group.prepared.caller, group.prepared.request)
        try:
            with self._graph.deadlines.limit() as clock:
                result = await execute_event(group.executor, event, context)
        except TimeoutError:
            if not clock.is_expired:
                raise
            payload: dict[str, Any] = {"data": None, "errors": format_problem(self._deadline_exceeded())}
        else:
            payload = build_payload(result, context.extensions)
        json, _ = encode_payload(payload)
        return Payload(json, tuple(find_codes(payload)))

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"The event took longer than {self._graph.deadlines.seconds:g} seconds to resolve.")


class Subscription(AsyncIterator[Payload]):
    """One open subscription: the results of its events, in order. It ends by the error that its source ends by."""

    __slots__ = ("_group", "_is_open", "_key", "_owner", "_source")

    def __init__(
        self, owner: Subscriptions[Any], key: tuple[object, ...], group: _Group, source: AsyncIterator[Any]
    ) -> None:
        self._owner = owner
        self._key = key
        self._group = group
        self._source = source
        self._is_open = True

    async def __anext__(self) -> Payload:
        """The next result."""
        return await self._owner.resolve(self._group, await anext(self._source))

    async def aclose(self) -> None:
        """End it, and its source."""
        if self._is_open:
            self._is_open = False
            self._owner.close(self._key, self._group)
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


def _find_key(prepared: Prepared) -> tuple[object, ...]:
    """What the results of an event depend on: the operation, its variables, and what the caller may see."""
    caller, request = prepared.caller, prepared.request
    return (
        id(prepared.document),  # the group holds the document, so that no other one takes its place
        prepared.operation.name,
        msgspec.json.encode((request.variables, request.extensions), order="deterministic"),
        caller.tenant_id,
        caller.role,
        caller.connection_ids,
        caller.external_ids,
    )
