"""Relay's list shape (https://relay.dev/graphql/connections.htm) and the Node interface.

Always written ``relay.Edge``, ``relay.PageInfo``, …: the graph's own ``Connection`` is a linked Sentry account.
"""

import strawberry
from strawberry.federation.schema_directives import Cost, ListSize

from service.directory.listing import Window

DEFAULT_FIRST = 50
MOST_FIRST = 1000


@strawberry.interface(description="Anything that has a global id.")
class Node:
    """Anything that has a global id."""

    id: strawberry.ID = strawberry.field(description="The global id: opaque, and lasting as long as the object.")


@strawberry.federation.type(shareable=True, description="Where a page of a list stands in it.")
class PageInfo:
    """Where a page of a list stands in it."""

    has_next_page: bool = strawberry.field(description="Whether there is more after this page.")
    has_previous_page: bool = strawberry.field(description="Whether there is something before this page.")
    start_cursor: str | None = strawberry.field(description="The cursor of the page's first item: pass it as `before`.")
    end_cursor: str | None = strawberry.field(description="The cursor of the page's last item: pass it as `after`.")


def build_window(
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    *,
    most: int = MOST_FIRST,
    has_end: bool = False,
) -> Window:
    """The window that a list's arguments describe; ``has_end`` lets ``last`` count back from the end.

    Raises :class:`BadInput` where they make no sense.
    """
    return Window.of(first, after, last, before, default=DEFAULT_FIRST, most=most, has_end=has_end)


def list_size() -> ListSize:
    """The ``@listSize`` of a Relay list: its size is ``first`` or ``last``."""
    return ListSize(
        assumed_size=DEFAULT_FIRST,
        slicing_arguments=["first", "last"],
        sized_fields=["edges", "nodes"],
        require_one_slicing_argument=False,
    )


def cost(weight: int) -> Cost:
    """The ``@cost`` of a field that calls Sentry."""
    return Cost(weight=weight)
