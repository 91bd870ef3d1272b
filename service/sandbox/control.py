"""The private endpoint that steers a sandbox in another process. It is never below ``/api/0/``."""

from typing import TYPE_CHECKING

import msgspec

from service.sandbox.faults import AnyFault
from service.sandbox.responses import Answer, answer_json, no_content
from service.sandbox.world import Manner

if TYPE_CHECKING:
    from service.sandbox.app import Sandbox

ROOT = "/__sandbox__/"


class _Manner(msgspec.Struct):
    manner: Manner


def answer(sandbox: "Sandbox", method: str, path: str, body: bytes) -> Answer:
    """Does what is asked, or says 404 or 400.

    ``GET/POST/DELETE faults/`` lists, adds, clears; ``GET requests/`` lists; ``PUT manner/`` sets; ``POST reset/``.
    """
    try:
        match method, path.removeprefix(ROOT):
            case "GET", "faults/":
                return answer_json(sandbox.faults.listed())
            case "POST", "faults/":
                sandbox.faults.add(msgspec.json.decode(body, type=AnyFault))
            case "DELETE", "faults/":
                sandbox.faults.clear()
            case "GET", "requests/":
                return answer_json([{"method": r.method, "path": r.path, "at": r.at} for r in list(sandbox.requests)])
            case "PUT", "manner/":
                sandbox.manner = msgspec.json.decode(body, type=_Manner).manner
            case "POST", "reset/":
                sandbox.reset()
            case _:
                return answer_json({"detail": "No such control."}, 404)
    except msgspec.MsgspecError as error:
        return answer_json({"detail": str(error)}, 400)
    return no_content()
