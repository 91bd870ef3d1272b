"""``POST /webhooks/sentry/{client id}``: where Sentry sends the webhooks of an app."""

import asyncio

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import RequestTooLarge, ServiceError
from service.webhooks.receive import HookReceiver

LARGEST_BODY = 2**20
"""Bytes of a webhook."""

_BODY_SECONDS = 10.0  # Sentry itself waits no longer

_log = structlog.get_logger(__name__)


def create_webhook_route(receiver: HookReceiver) -> Route:
    """The route. Its answers say nothing but a status: whoever sends something else than Sentry learns nothing."""

    async def receive(request: Request) -> Response:
        client_id = request.path_params["client_id"]
        try:
            body = await _read_body(request)
            await receiver.receive(
                client_id,
                request.headers.getlist("sentry-hook-signature"),
                request.headers.get("sentry-hook-resource"),
                body,
            )
        except (ClientDisconnect, TimeoutError):
            return Response(status_code=408)
        except ServiceError as error:
            _log.warning("webhook_refused", code=error.code)
            return Response(status_code=error.status)
        return Response(status_code=200)

    return Route("/webhooks/sentry/{client_id}", receive, methods=["POST"], include_in_schema=False)


async def _read_body(request: Request) -> bytes:
    """The raw bytes, which the signature is over."""
    body = bytearray()
    async with asyncio.timeout(_BODY_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise RequestTooLarge("The webhook is too large.")
    return bytes(body)
