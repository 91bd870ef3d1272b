import io
import json
import logging
import re
import sys
import threading
import warnings
from typing import Any

import pytest
import structlog

from tests.canary import find_canary
from tests.operations.secrets_of_each_kind import CANARIES, SECRETS

log = structlog.get_logger("service.somewhere")
library = logging.getLogger("some.library")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def raise_with_cause(text: str) -> None:
    try:
        dict[str, str]()[text]
    except KeyError as error:
        raise ValueError(f"while using {text}") from error


def write_in_every_way(text: str) -> None:
    """Push a text through each way in which anything can be logged."""
    event = f"message {text}"
    log.info(event)
    log.info("as a value", note=text, nested={"deep": [text, {"deeper": (text,)}]}, raw=text.encode())
    log.info("with arguments %s", text)
    log.bind(bound=text).warning("bound")
    with structlog.contextvars.bound_contextvars(of_context=text):
        log.error("in a context")
    library.warning("message %s", text)
    library.warning("with a mapping %(note)s", {"note": text})
    library.error("extra", extra={"note": text, "nested": {"deep": text}})
    library.error("arguments that do not fit", text, text)
    library.error("a stack", stack_info=True)
    warnings.warn(f"a warning {text}", UserWarning, stacklevel=1)
    try:
        raise_with_cause(text)
    except ValueError as error:
        log.exception("failed", error=error)
        log.error("failed", exc_info=error)
        library.exception("failed", exc_info=error)
        library.error("failed: %r", error)
        group = ExceptionGroup(text, [error])
        group.add_note(text)
        log.error("failed", exc_info=group)
    failed = threading.Thread(target=raise_with_cause, args=(text,))
    failed.start()
    failed.join()
    try:
        raise_with_cause(text)
    except ValueError:
        sys.excepthook(*sys.exc_info())


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.filterwarnings("always::UserWarning")
def test_no_secret_is_written_in_any_way_of_logging(start_logging, capfd, kind, log_format):
    stream = start_logging(log_format)

    write_in_every_way(CANARIES[kind])

    written = stream.getvalue()
    assert written.count("while using") >= 6
    assert find_canary(SECRETS[kind], written.encode()) == []
    assert capfd.readouterr() == ("", "")


def test_a_line_says_what_when_and_for_whom(start_logging):
    stream = start_logging()
    with structlog.contextvars.bound_contextvars(request_id="r-1", tenant="ten_1"):
        log.info("happened", rows=3)
        library.warning("happened %s", "too", extra={"rows": 4})

    ours, theirs = lines(stream)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", ours.pop("timestamp"))
    assert ours == {
        "event": "happened",
        "level": "info",
        "logger": "service.somewhere",
        "request_id": "r-1",
        "tenant": "ten_1",
        "rows": 3,
    }
    assert theirs.pop("timestamp").endswith("Z")
    assert theirs == {
        "event": "happened too",
        "level": "warning",
        "logger": "some.library",
        "request_id": "r-1",
        "tenant": "ten_1",
        "rows": 4,
    }


def test_an_exception_has_its_causes_but_no_local_variables(start_logging):
    stream = start_logging()
    local = "a value of a variable"
    try:
        raise_with_cause("x")
    except ValueError:
        log.exception("failed")

    [line] = lines(stream)

    assert "KeyError: 'x'" in line["exception"]
    assert line["exception"].endswith("ValueError: while using x")
    assert local not in json.dumps(line)
    assert "exc_info" not in line


def test_a_very_long_traceback_keeps_its_beginning_and_its_end(start_logging):
    stream = start_logging()
    error = ValueError("\n".join(map(str, range(1000))))
    log.error("failed", exc_info=error)

    [line] = lines(stream)

    assert line["exception"].startswith("ValueError: 0\n1\n")
    assert line["exception"].endswith("\n998\n999")
    assert "… 700 lines …" in line["exception"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", {"service debug", "service info", "sqlalchemy.engine warning"}),
        ("info", {"service info", "sqlalchemy.engine warning"}),
        ("warning", {"sqlalchemy.engine warning"}),
        ("error", set()),
    ],
)
def test_libraries_are_heard_from_warnings_on(start_logging, level, heard):
    logging.getLogger("uvicorn.error").setLevel(logging.DEBUG)  # as an earlier server may have
    stream = start_logging(level=level)
    for name in (
        "service",
        "uvicorn.error",
        "alembic",
        "alembic.runtime.migration",
        "sqlalchemy.engine",
        "httpx",
        "aiosqlite",
        "asyncio",
    ):
        logging.getLogger(name).debug("%s debug", name)
        logging.getLogger(name).info("%s info", name)
    logging.getLogger("sqlalchemy.engine").warning("sqlalchemy.engine warning")

    assert {line["event"] for line in lines(stream)} == heard


def test_ours_below_the_level_are_not_even_rendered(start_logging):
    class Costly:
        def __repr__(self):
            raise AssertionError("rendered")

    stream = start_logging(level="warning")
    log.info("quiet", value=Costly())
    assert stream.getvalue() == ""


def test_configuring_twice_does_not_double_the_lines(start_logging):
    start_logging()
    stream = start_logging()
    log.info("once")
    logging.getLogger("uvicorn.error").warning("once", extra={"color_message": "\x1b[1monce"})

    assert [line["event"] for line in lines(stream)] == ["once", "once"]
    assert "color_message" not in stream.getvalue()


def test_a_line_of_text_cannot_forge_another(start_logging):
    stream = start_logging()
    log.info('quiet\n{"event": "forged"}')
    assert [line["event"] for line in lines(stream)] == ['quiet\n{"event": "forged"}']


def test_a_closed_stream_loses_the_line_and_nothing_else(start_logging):
    start_logging().close()
    log.info("nobody reads this")


def test_stopping_by_the_keyboard_is_no_failure(start_logging, capsys):
    stream = start_logging()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert stream.getvalue() == ""
    assert "KeyboardInterrupt" in capsys.readouterr().err
