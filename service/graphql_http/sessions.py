"""Connections that stay open: counted, held to their callers' rights while they last, and ended when the process stops.

A request's caller is known for the moment that it takes. What stays open for hours is asked for its caller again and
again: a key may be revoked and a JWT expires.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

import structlog

from service.errors import ServiceError, TooManySubscriptions, Unauthenticated
from service.graphql_http.problems import ServiceStops
from service.tenants.caller import Caller, KnowsCallers

_log = structlog.get_logger(__name__)


def has_room(mine: int, total: int, limit: int) -> bool:
    """Whether whoever holds ``mine`` of ``total`` places may take another one.

    The last eighth of them is for those who hold less than half, so that nobody can take them all.
    """
    return total < limit and (total < limit - limit // 8 or mine < limit // 2)


def find_tenant(caller: Caller | None) -> str | None:
    """Whose place a caller takes; all that are not known yet are as one."""
    return None if caller is None else caller.tenant_id


class Session(Protocol):
    """A connection that stays open. Its caller is None until it is known."""

    caller: Caller | None
    authorization: str | None

    def end(self, why: ServiceError) -> None:
        """End it soon, telling the client why. Once is enough."""
        ...


class Breakable:
    """Runs a block that others may break off, once: ``why`` is their reason, None for none that the client is told."""

    def __init__(self) -> None:
        self.is_broken_off = False
        self.why: ServiceError | None = None
        self._scope = asyncio.timeout(None)
        self._is_running = False

    def break_off(self, why: ServiceError | None = None) -> None:
        """Break the block off, or do not let it begin; after it, nothing happens."""
        if not self.is_broken_off:
            self.is_broken_off = True
            self.why = why
            if self._is_running:
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Self:
        """Begin the block."""
        await self._scope.__aenter__()
        self._is_running = True
        if self.is_broken_off:
            self._scope.reschedule(asyncio.get_running_loop().time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the block; it may have been broken off."""
        self._is_running = False
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False


class Sessions:
    """The sessions of a process, at most ``limit``.

    Each caller is looked at every ``look_seconds``. ``heartbeat_seconds`` are how long a stream over HTTP is silent at
    most: proxies cut what is silent for a minute. ``init_seconds`` are how long a socket may take to say who it is.
    """

    def __init__(
        self,
        authenticator: KnowsCallers,
        *,
        limit: int,
        look_seconds: float = 5.0,
        heartbeat_seconds: float = 15.0,
        init_seconds: float = 10.0,
    ) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self.init_seconds = init_seconds
        self._authenticator = authenticator
        self._limit = limit
        self._look_seconds = look_seconds
        self._open: set[Session] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    @contextlib.contextmanager
    def opened(self, session: Session) -> Iterator[None]:
        """Look after a session while the block runs."""
        self._open.add(session)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_after(), name="sessions")
        try:
            yield
        finally:
            self._open.discard(session)
            if not self._open and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def require_room(self, caller: Caller | None, *, but: Session | None = None) -> None:
        """Raise :class:`TooManySubscriptions` where a caller (None: not known yet) has no room; ``but`` has its own."""
        others = [find_tenant(session.caller) for session in self._open if session is not but]
        if not has_room(others.count(find_tenant(caller)), len(others), self._limit):
            raise TooManySubscriptions(f"There are {len(others)} clients connected here already.")

    def stop(self) -> None:
        """End all of them: the process stops."""
        for session in list(self._open):
            session.end(ServiceStops("This process stops."))

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            sessions = [session for session in self._open if session.caller is not None]
            for authorization in {session.authorization for session in sessions}:
                try:
                    caller = await self._find_caller(authorization)
                except ServiceError as error:  # it cannot be known now
                    _log.warning("session_caller_unknown", code=error.code)
                    continue
                except Exception as error:  # noqa: BLE001 - else nobody's rights would be looked at any more
                    _log.error("session_caller_unknown", exc_info=error)
                    continue
                for session in sessions:
                    if session.authorization == authorization and session.caller != caller:
                        session.end(Unauthenticated("The API key or JWT is not valid any more, or its rights changed."))

    async def _find_caller(self, authorization: str | None) -> Caller | None:
        try:
            return await self._authenticator.authenticate(authorization)
        except Unauthenticated:
            return None
