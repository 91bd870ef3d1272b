"""Where Sentry sends webhooks: ``POST /webhooks/sentry/{client id}/…`` for apps, ``POST /webhooks/in/{id}/…`` else."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import RequestTooLarge, ServiceError
from service.webhooks.receive import HookReceiver, HookRequest, Outcome

LARGEST_BODY = 2**20
"""Bytes of a webhook."""

_BODY_SECONDS = 10.0  # Sentry itself waits no longer

_log = structlog.get_logger(__name__)


def create_webhook_routes(receiver: HookReceiver) -> list[Route]:
    """The routes. Their answers say nothing but a status: whoever sends something else than Sentry learns nothing."""

    async def receive_for_app(request: Request) -> Response:
        address = request.path_params["client_id"], request.path_params["token"]
        is_known = receiver.is_of_app(*address)
        return await _answer(request, lambda hook: receiver.receive_for_app(*address, hook), is_known=is_known)

    async def receive(request: Request) -> Response:
        address = request.path_params["receiver_id"], request.path_params["token"]
        is_known = receiver.is_of_receiver(*address)
        return await _answer(request, lambda hook: receiver.receive(*address, hook), is_known=is_known)

    return [
        Route("/webhooks/sentry/{client_id}/{token}", receive_for_app, methods=["POST"], include_in_schema=False),
        Route("/webhooks/in/{receiver_id}/{token}", receive, methods=["POST"], include_in_schema=False),
    ]


async def _answer(
    request: Request, receive: Callable[[HookRequest], Awaitable[Outcome]], *, is_known: bool
) -> Response:
    """Receive a webhook. What comes to an address that is not known is not read: anybody could send it."""
    try:
        body = await _read_body(request) if is_known else b""
        await receive(HookRequest(request.headers.items(), body))
    except (ClientDisconnect, TimeoutError):
        return Response(status_code=408)
    except ServiceError as error:
        _log.warning("webhook_refused", code=error.code)
        return Response(status_code=error.status)
    return Response(status_code=200)


async def _read_body(request: Request) -> bytes:
    """The raw bytes, which the signature is over."""
    body = bytearray()
    async with asyncio.timeout(_BODY_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise RequestTooLarge("The webhook is too large.")
    return bytes(body)
