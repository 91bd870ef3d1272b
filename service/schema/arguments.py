"""Arguments that several fields share, each described once."""

from typing import Annotated

import strawberry

from service.schema.inputs import ConnectionFilterInput, ProxyParameter, UserFilterInput, UserOrderInput

First = Annotated[int | None, strawberry.argument(description="How many items to give: 50 unless said, at most 1000.")]
After = Annotated[str | None, strawberry.argument(description="Give items after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many items to give before `before`, at most 1000.")]
Before = Annotated[str | None, strawberry.argument(description="Give items before this cursor; needs `last`.")]
UserFilter = Annotated[
    UserFilterInput | None,
    strawberry.argument(
        description="Conditions that all must hold. What Sentry cannot apply is applied over the whole list, up to "
        "5000 users (`SCAN_LIMIT_EXCEEDED` beyond)."
    ),
]
UserOrder = Annotated[
    UserOrderInput | None,
    strawberry.argument(
        description="By connection and then in Sentry's order unless said. Any other order reads the whole list, up to "
        "5000 users (`SCAN_LIMIT_EXCEEDED` beyond)."
    ),
]
ConnectionFilter = Annotated[
    ConnectionFilterInput | None, strawberry.argument(description="Conditions that all must hold.")
]

ProxyPath = Annotated[
    str,
    strawberry.argument(
        description="The path below `/api/0/`, such as `organizations/{organization}/issues/`. `{organization}` and "
        "`{project}` are filled in from the connection."
    ),
]
ProxyQuery = Annotated[
    list[ProxyParameter] | None,
    strawberry.argument(description="Query parameters in order; a name may come several times."),
]
ProxyFirst = Annotated[
    int | None,
    strawberry.argument(description="Sentry's page size, from 1 to 100. It stays the same while walking a list."),
]
ProxyAfter = Annotated[
    str | None, strawberry.argument(description="Give the page after this cursor (`pageInfo.endCursor`).")
]
