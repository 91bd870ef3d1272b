"""From places to Python source: one function for each object and each list, one or two lines for each field.

Only names reach the source: those of the schema and those that GraphQL's lexer let through, both checked again by
:mod:`service.executor.names`. Everything else is put into the code's namespace and named there after the field.
"""

import linecache
import weakref
from typing import Any

from service.executor.classes import CAST
from service.executor.names import is_name
from service.executor.places import Field, Place
from service.executor.run import make_path, real_path
from service.executor.values import READY, Abstract, Items, Leaf, Object, Value


class Unit:
    """Code that is compiled together: an object and what is below it, down to where the types are not known yet."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.namespace: dict[str, Any] = {"make_path": make_path, "real_path": real_path, "READY": READY}
        self._lines: list[str] = []
        self._builders: list[tuple[Value, str]] = []
        self._count = 0

    @property
    def source(self) -> str:
        """The source, as tracebacks show it."""
        return "\n".join(self._lines) + "\n"

    def write(self, value: Object) -> None:
        """Write an object's code, compile it, and give each object and list in it its builder."""
        self._object(value, "response" if value.place.is_root else value.place.field.key)
        exec(compile(self.source, self.filename, "exec"), self.namespace)  # noqa: S102 - made of checked names alone
        for each, name in self._builders:
            each.build = self.namespace[name]
        lines = self.source.splitlines(keepends=True)
        linecache.cache[self.filename] = (len(self.source), None, lines, self.filename)
        weakref.finalize(self, linecache.cache.pop, self.filename, None)

    # --- functions ---

    def _object(self, value: Object, label: str) -> str:
        """Write the function of an object; its name."""
        number = self._number()
        name = self._define(value, f"build_{label}_u{number}")
        body = [
            f"def {name}(run, source, path):",
            f"    # {value.type.name}{_describe(value.place)}",
            "    waits = run.waits",
        ]
        if value.has_resolver and not value.place.is_root and isinstance(value.place.value, Abstract):
            body.append("    path = real_path(path)")
        items, batches, tries = [], [], []
        for field in value.fields or ():
            if field.is_typename:
                items.append(f"{field.key!r}: {field.typename!r}")
            elif field.batch is not None:
                items.append(f"{field.key!r}: None")
                batches.append(f"    run.batch({self._name('field', field, field)}, source, path, data)")
                self._complete(field, field.local, "", "", field.key)  # its lists and objects, for when it is there
            else:
                items.append(f"{field.key!r}: {field.local}")
                tries += self._field(field)
        if tries:
            resume = self._put(f"resume_{label}_u{number}", value.resume)
            body += ["    try:", *(f"        {line}" for line in tries)]
            body += ["    except Exception:", f"        return {resume}(run, source, path, locals())"]
        wait = self._put(f"wait_{label}_u{number}", value.place.wait_object)
        body += ["    data = {", *(f"        {item}," for item in items), "    }", *batches]
        body += [f"    return data if run.waits == waits else {wait}(run, data, path)", ""]
        self._lines += body
        return name

    def _list(self, value: Items, place: Place, label: str) -> str:
        """Write the function of a list; its name."""
        number = self._number()
        name = self._define(value, f"build_{label}_u{number}")
        fail = self._put(f"fail_{label}_u{number}", place.fail_list)
        wait = self._put(f"wait_{label}_u{number}", place.wait_list)
        settle = f"{self._put(f'settle_{label}_u{number}', value.item.settle)}(run, item, path, len(items))"
        path = _path("path, len(items), None", value.item)
        self._lines += [
            f"def {name}(run, source, path):",
            f"    # the items{_describe(place)}",
            "    waits = run.waits",
            "    items = []",
            "    rest = iter(source)",
            "    try:",
            "        for item in rest:",
            *(f"            {line}" for line in self._complete(value.item, "item", settle, path, f"{label}_item")),
            "            items.append(item)",
            "    except Exception as error:",
            f"        return {fail}(run, error, path, items, rest)",
            f"    return items if run.waits == waits else {wait}(run, items, path)",
            "",
        ]
        return name

    # --- lines ---

    def _field(self, field: Field) -> list[str]:
        """A field's value into its local variable."""
        key = f"path, {field.key!r}, {field.typename!r}"
        if field.attribute is not None:
            value = f"source.{field.attribute}"
        else:
            resolve = "run.field_resolver"
            if field.resolve is not None:
                resolve = self._name("resolve", field, field.resolve)
            arguments = ""
            if field.arguments.constants is None:
                arguments = f", **run.arguments({self._name('field', field, field)})"
            elif field.arguments.constants:
                arguments = f", **{self._name('arguments', field, field.arguments.constants)}"
            head = self._name("info", field, field.info_head)
            value = f"{resolve}(source, run.info({head}, make_path(({key}))){arguments})"
        settle = self._name("settle", field, field.settle)
        if isinstance(field.value, Leaf) and field.value.test is None and not field.value.names:
            return self._scalar(field, field.value, value, settle)
        settle = f"{settle}(run, {field.local}, path)"
        return [f"{field.local} = {value}", *self._complete(field, field.local, settle, _path(key, field), field.key)]

    def _complete(self, place: Place, local: str, settle: str, path: str, label: str) -> list[str]:
        """Complete the value in a local variable: the common cases here, all others by ``settle``."""
        value = place.value
        otherwise = "elif" if place.is_nullable else "else"
        rest = [f"{otherwise}{f' {local} is not None' if place.is_nullable else ''}: {local} = {settle}"]
        if isinstance(value, Leaf):
            return self._leaf(value, local, settle, label, is_nullable=place.is_nullable)
        if isinstance(value, Items):
            build = self._list(value, place, label)
            return [f"if {local}.__class__ is list: {local} = {build}(run, {local}, {path})", *rest]
        number = self._number()
        if isinstance(value, Object):
            known = self._put(f"classes_{label}_u{number}", value.known)
            build = (
                self._object(value, label)
                if value.is_to_generate
                else self._put(f"build_{label}_u{number}", value.build)
            )
            is_known = f"{local}.__class__ in {known}"
            if value.type.is_type_of is not None:
                is_known += f" and not hasattr({local}, {CAST!r})"
            return [f"if {is_known}: {local} = {build}(run, {local}, {path})", *rest]
        assert isinstance(value, Abstract)  # noqa: S101 - for the type checker
        find = self._put(f"find_{label}_u{number}", value.builders.get)
        return [
            f"build = {find}({local}.__class__)",
            f"if build is not None and not hasattr({local}, {CAST!r}): {local} = build(run, {local}, {path})",
            *rest,
        ]

    def _leaf(self, value: Leaf, local: str, settle: str, label: str, *, is_nullable: bool) -> list[str]:
        present = f"{local} is not None"
        if value.names:
            find = self._put(f"names_{label}_u{self._number()}", value.names.get)
            lookup = f"{local} = {find}(id({local})) or {settle}"
            return [f"if {present}: {lookup}" if is_nullable else lookup]
        test = value.test and value.test.format(local)
        conditions = ([test] if test else []) + ([present] if is_nullable else [])
        prefix = f"if {' and '.join(conditions)}: " if conditions else ""
        return [f"{prefix}{local} = {settle}"]

    def _scalar(self, field: Field, leaf: Leaf, value: str, settle: str) -> list[str]:
        """A field that is serialized: here, where its class is known to need no more."""
        serialize = self._name("serialize", field, leaf.coerce)
        classes = self._name("classes", field, leaf.known)
        check = f"{self._name('check', field, field.settle_serialized)}(run, value, text, path)"
        otherwise = f"{settle}(run, value, path)"
        if field.is_nullable:
            otherwise = f"None if value is None else {otherwise}"
        return [
            f"value = {value}",
            f"if value.__class__ in {classes}:",
            f"    text = {serialize}(value)",
            f"    {field.local} = text if text.__class__ in READY else {check}",
            f"else: {field.local} = {otherwise}",
        ]

    # --- names ---

    def _name(self, what: str, field: Field, thing: object) -> str:
        return self._put(f"{what}_{field.local}", thing)

    def _put(self, name: str, thing: object) -> str:
        if not is_name(name):
            raise ValueError("not a name")
        self.namespace[name] = thing
        return name

    def _define(self, value: Value, name: str) -> str:
        self._builders.append((value, name))
        return name

    def _number(self) -> int:
        self._count += 1
        return self._count


def _path(parts: str, place: Place) -> str:
    """A path for what is below: a real one where a resolver will see it, else a tuple, which costs a third.

    What is of an abstract type makes it real by itself, if its own type needs that.
    """
    is_seen = place.value.has_resolver and not isinstance(place.value, Abstract)
    return f"make_path(({parts}))" if is_seen else f"({parts})"


def _describe(place: Place) -> str:
    """Where a place is, for the reader of a traceback."""
    keys: list[str] = []
    while not place.is_root:
        keys.append(place.field.key if place is place.field else "[]")
        place = place.outer
    return f" at {'.'.join(reversed(keys))}" if keys else ""
