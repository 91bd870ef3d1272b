"""docs/webhook_receiver.py: believes what the standard's own library signs, and nothing else; tells an event once."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.serving import free_port

SCRIPT = Path(__file__).parents[2] / "docs" / "webhook_receiver.py"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
BODY = json.dumps({"type": "issue.resolved", "timestamp": "2026-01-02T03:04:05Z", "projectSlug": "web", "data": {}})


@pytest.fixture
def receiver() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(port)],
        env={**os.environ, "WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                httpx.get(url, trust_env=False)
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.wait()


def send(url: str, message: str, *, secret: str = SECRET, at: datetime | None = None, body: str = BODY) -> int:
    sent_at = at or datetime.now(UTC)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message, sent_at, BODY),
    }
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_the_example_receives(receiver):
    url, process = receiver
    assert send(url, "evt_1", secret="whsec_" + base64.b64encode(b"o" * 32).decode()) == 401
    assert send(url, "evt_1", at=datetime.now(UTC) - timedelta(minutes=6)) == 401
    assert send(url, "evt_1", body=BODY.replace("web", "other")) == 401
    assert httpx.post(url, content=BODY, trust_env=False).status_code == 401
    assert [send(url, message) for message in ("evt_1", "evt_1", "evt_2")] == [204, 204, 204]
    process.terminate()
    assert process.stdout is not None
    told = process.stdout.read()
    process.stdout.close()
    assert [line.split() for line in told.splitlines()] == [
        ["2026-01-02T03:04:05Z", "issue.resolved", "web", "evt_1"],
        ["2026-01-02T03:04:05Z", "issue.resolved", "web", "evt_2"],
    ]
