"""Services that take webhooks and crash where they are told to: started by tests.faults.receiving.

Prints the port it listens on. After a first webhook, which brings up what is made when it is first used, it forks a
service for each line of standard input, and says how that ended. A service kills itself with -9 at the point that the
header ``x-crash`` of a request names. The product knows nothing of it: the points are where SQLAlchemy is about to
commit, and where the ASGI server is handed an answer.
"""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import uvicorn
from sqlalchemy import event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import Runtime, create_app
from service.operations.logs import configure_logging
from service.settings import Settings

BEFORE_COMMIT, BEFORE_ANSWER, AFTER_ANSWER = POINTS = ("before the commit", "before the answer", "after the answer")


class Crash:
    """Ends the process at a point, as soon as a request asks for it."""

    def __init__(self) -> None:
        self.point = ""

    def come_to(self, point: str) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            asked = dict(scope.get("headers", ())).get(b"x-crash", b"").decode()
            if asked == BEFORE_COMMIT:
                self.point = asked  # from here on the next commit is one too many

            async def send_watched(message: Message) -> None:
                if asked in {BEFORE_ANSWER, AFTER_ANSWER} and message.get("status") == 200:
                    self.point = asked
                    self.come_to(BEFORE_ANSWER)
                await send(message)
                if asked and message["type"] == "http.response.body":
                    self.come_to(AFTER_ANSWER)

            await app(scope, receive, send_watched)

        return watched


async def serve(runtime: Runtime, app: ASGIApp, listener: socket.socket, *, requests: int | None = None) -> None:
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", limit_max_requests=requests)
    async with runtime.started():
        await uvicorn.Server(config).serve([listener])


def main() -> None:
    configure_logging("json", "error")
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        say(listener.getsockname()[1])
        first = Runtime.build(Settings())
        asyncio.run(serve(first, create_app(first), listener.dup(), requests=1))
        runtime, crash = Runtime.build(Settings()), Crash()  # opens nothing yet
        event.listen(runtime.database._engine.sync_engine, "commit", lambda _: crash.come_to(BEFORE_COMMIT))
        app = crash.wrap(create_app(runtime))
        for _ in sys.stdin:
            child = os.fork()
            if child == 0:
                asyncio.run(serve(runtime, app, listener))
                os._exit(0)
            say(child)
            say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def say(what: Any) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
