"""An internal integration that is told of everything, as the contract sees it, and a way to let errors occur."""

import hashlib
import hmac
import os
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import pytest

from tests.contract.hook_shapes import shape_of
from tests.contract.linking import Bench
from tests.contract.receiver import Hook, Receiver
from tests.contract.server import Server
from tests.contract.shapes import describe_mismatch

_SEND_EVENT = os.environ.get("SENTRY_TEST_SEND_EVENT", "")


@dataclass(frozen=True)
class Listener:
    """An integration that listens at ``receiver``; ``occur`` lets a new error occur in a project, by its slug.

    Webhooks come in any order: what was not asked for yet waits in ``unheard``.
    """

    server: Server
    receiver: Receiver
    client_secret: str = field(repr=False)
    installation: str
    occur: Callable[[str], None]
    unheard: list[Hook] = field(default_factory=list, repr=False)

    def hear(self, resource: str, action: str) -> Hook:
        """The next webhook of that name, which must be signed and of the structure that is known."""
        hook = self._take(resource, action)
        if hook is None and "127.0.0.1" not in self.server.url:
            pytest.skip("this server sends no webhooks to loopback addresses")
        assert hook is not None, f"{resource}.{action} was not told"
        assert hook.headers["Sentry-Hook-Signature"] == signature(self.client_secret, hook.body)
        assert hook.headers["Content-Type"] == "application/json"
        assert len(hook.headers["Request-ID"]) == 32
        # An error is told with whatever its SDK reported: no list of keys is whole.
        manner = "latest" if resource == "error" else self.server.manner
        assert not describe_mismatch(hook.payload, shape_of(f"{resource}.{action}"), manner)
        return hook

    def _take(self, resource: str, action: str) -> Hook | None:
        while True:
            for hook in self.unheard:
                if (hook.headers["Sentry-Hook-Resource"], hook.payload["action"]) == (resource, action):
                    self.unheard.remove(hook)
                    return hook
            try:
                hook = self.receiver.hooks.get(timeout=5)
            except Empty:
                return None
            if hook.payload.get("installation") == {"uuid": self.installation}:
                self.unheard.append(hook)


def signature(secret: str, body: bytes) -> str:
    """Lower-case hexadecimal HMAC-SHA256."""
    return hmac.digest(secret.encode(), body, hashlib.sha256).hex()


@contextmanager
def integrated(bench: Bench, receiver: Receiver) -> Iterator[Listener]:
    """An internal integration of the organization on a real server, made for the block."""
    server = bench.server
    body = {
        # A name stays taken when its integration is gone.
        "name": f"Contract {secrets.token_hex(4)}",
        "author": "Contract tests",
        "organization": server.organization,
        "isInternal": True,
        "isAlertable": True,
        "verifyInstall": False,
        "scopes": ["event:read"],
        "events": ["issue", "error", "comment"],
        "schema": {},
        "webhookUrl": receiver.url,
    }
    made = server.ask("sentry-apps/", method="POST", json=body)
    assert made.status_code == 201, made.text
    slug = made.json()["slug"]
    try:
        secret = server.ask(f"sentry-apps/{slug}/").json()["clientSecret"]
        rows = server.rows(server.organization_path("sentry-app-installations/"))
        uuid = next(row["uuid"] for row in rows if row["app"]["slug"] == slug)
        yield Listener(server, receiver, secret, uuid, lambda project: _send_event(server, project))
    finally:
        browser = bench.browser()
        token = next((c.value for c in browser.http.cookies.jar if c.name in {"sc", "sentry-sc"}), None)
        headers = {"X-CSRFToken": token or "", "Referer": f"{browser.http.base_url}/"}
        assert browser.http.delete(f"/api/0/sentry-apps/{slug}/", headers=headers).status_code == 204


def _send_event(server: Server, project: str) -> None:
    if not _SEND_EVENT:
        pytest.skip("SENTRY_TEST_SEND_EVENT is not set")
    keys: list[dict[str, Any]] = server.rows(f"projects/{server.organization}/{project}/keys/")
    environment = os.environ | {"SENTRY_DSN": keys[0]["dsn"]["public"]}
    command = [*shlex.split(_SEND_EVENT), f"contract {secrets.token_hex(8)}"]
    subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)
