"""Structured logs: ours and those of the libraries, as one stream of lines, each without secrets.

A line is JSON, or text for a console. It carries what is bound to its request: ``request_id`` and ``tenant``.
"""

import logging
import sys
import threading
import traceback
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from service.operations.redaction import redact, redact_text

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_MAX_EXCEPTION = 65_536
_MAX_LINES = 300
# Libraries are heard from a warning on: lower levels of SQLAlchemy, aiosqlite and httpx would write the parameters of
# statements and URLs.
_OURS = "service"

_log = structlog.get_logger(__name__)


def configure_logging(log_format: Format, level: Level, *, stream: TextIO | None = None) -> None:
    """Send all logs of the process to ``stream`` (standard error by default), for structlog and stdlib loggers alike.

    uvicorn must be run with ``log_config=None, access_log=False``; requests have one line each by
    :class:`service.operations.observer.ObservedApp`. May be called again.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_colors],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_event,
                structlog.processors.ExceptionRenderer(_format_exception),
                _create_renderer(log_format, handler.stream),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    least: int = getattr(logging, level.upper())
    handler.setLevel(least)
    _set_levels(least)
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


class _Handler(logging.StreamHandler[TextIO]):
    """Says that a record could not be written. The base class would print the record's arguments as they are."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        try:
            self.stream.write(f'{{"level": "error", "event": "unwritable_log_record", "logger": "{record.name}"}}\n')
            self.flush()
        except (OSError, ValueError):
            pass  # standard error itself is gone: there is nowhere left to say so


def _set_levels(level: int) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "alembic", _OURS):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logging.getLogger().setLevel(max(level, logging.WARNING))
    logging.getLogger(_OURS).setLevel(level)


def _create_renderer(log_format: Format, stream: TextIO) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _drop_colors(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's message once more, with escape sequences
    return event


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    exc_info = event.pop("exc_info", None)
    redacted: dict[str, Any] = redact(event)
    if exc_info:
        redacted["exc_info"] = exc_info  # formatted, and redacted, by the next processor
    return redacted


def _format_exception(exc_info: ExcInfo) -> str:
    """A traceback without local variables; of very long ones the beginning and the end."""
    text = redact_text("".join(traceback.format_exception(*exc_info)).rstrip(), limit=_MAX_EXCEPTION)
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        half = _MAX_LINES // 2
        lines[half:-half] = [f"… {len(lines) - 2 * half} lines …"]
    return "\n".join(lines)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt) or error is None:
        sys.__excepthook__(kind, error or kind(), trace)
    else:
        _log.critical("uncaught_exception", exc_info=(kind, error, trace))
