"""The ``Proxy`` type: Sentry's API one to one, with the connection's credential and one shape of pages."""

from collections.abc import Callable

import msgspec
import strawberry

from service.errors import InvalidCursor
from service.proxy.engine import ProxyAnswer, ProxyRequest
from service.schema import relay
from service.schema.context import Info
from service.schema.inputs import ProxyParameter
from service.schema.rate_limit import SentryRateLimit, build_rate_limit
from service.schema.scalars import JSON


class ProxyPosition(msgspec.Struct, frozen=True, array_like=True):
    """Where a walk through a proxied list stands: Sentry's cursor, and the page size that it belongs to."""

    page_cursor: str
    first: int | None


@strawberry.type(description="A header of Sentry's answer.")
class ProxyHeader:
    """A header of Sentry's answer."""

    name: str = strawberry.field(description="The header's name, in lower case.")
    value: str = strawberry.field(description="Its value.")


@strawberry.type(
    description="Sentry's answer to a proxied call. Its refusals (4xx) are answers too: look at `statusCode`."
)
class Proxy:
    """Sentry's answer to a proxied call."""

    status_code: int = strawberry.field(description="Sentry's HTTP status.")
    result: JSON | None = strawberry.field(
        description="Sentry's answer, untouched; text that is not JSON comes as a string, no answer as null."
    )
    result_count: int | None = strawberry.field(description="How many items `result` has; null where it is no list.")
    total_count: int | None = strawberry.field(
        description="How many items the whole list has, where Sentry counts them (issues, up to 1000); null otherwise."
    )

    def __init__(self, answer: ProxyAnswer, end_cursor: Callable[[], str | None] = lambda: None) -> None:
        """``end_cursor`` seals the cursor of the next page, if there is one."""
        self.status_code = answer.status_code
        self.result = JSON(msgspec.Raw(answer.result)) if answer.result is not None else None
        self.result_count = answer.result_count
        self.total_count = answer.total_count
        self._answer = answer
        self._end_cursor = end_cursor

    @strawberry.field(
        description="Where this page stands in Sentry's list. A list that Sentry does not page comes whole."
    )
    def page_info(self) -> relay.PageInfo:
        """Where this page stands."""
        cursor = self._end_cursor()
        return relay.PageInfo(
            has_next_page=cursor is not None,
            has_previous_page=self._answer.has_previous,
            start_cursor=None,
            end_cursor=cursor,
        )

    @strawberry.field(description="Headers of Sentry's answer, where they are of use.")
    def headers(self) -> list[ProxyHeader]:
        """Headers."""
        return [ProxyHeader(name=name, value=value) for name, value in self._answer.headers.items()]

    @strawberry.field(description="Sentry's rate limit after this call; null if it has none.")
    def rate_limit(self) -> SentryRateLimit | None:
        """Sentry's rate limit."""
        return build_rate_limit(self._answer.rate_limit)


async def read_through_proxy(
    info: Info,
    connection_id: str,
    path: str,
    query: list[ProxyParameter] | None,
    first: int | None,
    after: str | None,
) -> Proxy:
    """``GET`` a path of Sentry's API, perhaps the page after a cursor.

    Raises :class:`InvalidCursor` for a cursor of another path, query or page size, and what the engine raises.
    """
    codec, caller = info.context.services.cursors, info.context.caller
    parameters = [(parameter.name, parameter.value) for parameter in query or ()]
    scope = codec.scope(caller.tenant_id, "proxy", connection_id, path, parameters)
    position = codec.open(scope, after, ProxyPosition) if after is not None else None
    if position is not None and first is not None and first != position.first:
        raise InvalidCursor("`first` differs from the page size that this cursor belongs to.")
    size = position.first if position is not None else first
    request = ProxyRequest(
        method="GET",
        path=path,
        query=parameters,
        first=size,
        page_cursor=position.page_cursor if position is not None else None,
    )
    answer = await call_through_proxy(info, connection_id, request)

    def seal_end() -> str | None:
        return codec.seal(scope, ProxyPosition(answer.next_cursor, size)) if answer.next_cursor is not None else None

    return Proxy(answer, seal_end)


async def call_through_proxy(info: Info, connection_id: str, request: ProxyRequest) -> ProxyAnswer:
    """Carry out a call through a connection. Raises what the engine raises."""
    answer = await info.context.services.proxy.call(info.context.caller, connection_id, request)
    if info.context.wants_rate_limits:
        await info.context.lookups.source(connection_id)  # notes the account as used
    return answer
