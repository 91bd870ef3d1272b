import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import structlog

from service.operations.logs import Format, Level, configure_logging

LOGGERS = ("", "service", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "alembic", "py.warnings")


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Whatever the test configures, the next test finds logging as it was."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    hooks = sys.excepthook, threading.excepthook
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


StartLogging = Callable[..., io.StringIO]


@pytest.fixture
def start_logging(restored_logging: None) -> StartLogging:
    """Configures logging and gives the stream that it writes to."""

    def start(log_format: Format = "json", level: Level = "info") -> io.StringIO:
        stream = io.StringIO()
        configure_logging(log_format, level, stream=stream)
        return stream

    return start
