"""The root fields of a mutation: one after another, each complete before the next begins."""

from collections.abc import Iterator
from types import CoroutineType
from typing import Any

from service.executor.places import Field
from service.executor.run import Run
from service.executor.values import Object


def execute_serially(run: Run, root: Object) -> Any:
    """The dict of root fields, or a coroutine from the first field on that has to be waited for.

    Raises the located error of a field that may not be null; those after it are not begun.
    """
    data: dict[str, Any] = {}
    fields = iter(root.fields or ())
    for field in fields:
        _begin(run, field, data)
        if run.is_waiting:
            return run.later(_go_on(run, field, fields, data))
    return data


async def _go_on(run: Run, field: Field, fields: Iterator[Field], data: dict[str, Any]) -> dict[str, Any]:
    while True:
        if data[field.key].__class__ is CoroutineType:
            data[field.key] = await data[field.key]
        await run.drain()
        following = next(fields, None)
        if following is None:
            return data
        field = following
        _begin(run, field, data)


def _begin(run: Run, field: Field, data: dict[str, Any]) -> None:
    source = run.executor.root_value
    data[field.key] = field.execute(run, source, None)
    if field.batch is not None:
        run.batch(field, source, None, data)
