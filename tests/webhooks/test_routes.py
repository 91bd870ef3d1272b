import asyncio
from collections.abc import AsyncIterator

import pytest

from service.tenants.caller import Caller
from service.webhooks.routes import LARGEST_BODY
from tests.webhooks.receiving import APP, SECRET, Receiving, envelope, signed


async def test_a_large_body_is_refused_before_it_is_read_whole(service: Receiving):
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 2**16
            yield b"x" * 2**16

    answer = await service.http.post(service.addresses.of_app(APP.client_id), content=body())
    assert answer.status_code == 413
    assert sent <= LARGEST_BODY + 2**17


async def test_the_body_that_comes_to_a_made_up_address_is_not_read(service: Receiving, admin: Caller):
    """Anybody could have a megabyte kept for each request, and ten seconds."""
    receiver = await service.receiver(admin, await service.link(admin))
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        sent += 1
        yield b"{}"

    for url in (service.receivers.url(receiver), service.addresses.of_app(APP.client_id)):
        made_up = url[:-1] + ("A" if url[-1] != "A" else "B")
        assert (await service.http.post(made_up, content=body())).status_code == 401
    assert sent == 0
    assert service.observed[-2:] == [("unknown", "refused")] * 2


async def test_the_largest_body_is_taken(service: Receiving, admin: Caller):
    receiver = await service.receiver(admin, await service.link(admin))
    body = envelope("created", {"text": ""})
    body = body.replace(b'"text": ""', b'"text": "%s"' % (b"x" * (LARGEST_BODY - len(body))))
    assert len(body) == LARGEST_BODY
    assert await service.send_to(receiver, body) == 200
    assert await service.send_to(receiver, body + b" ") == 413
    [event] = await service.events()
    assert event.body == body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_but_a_post(service: Receiving, admin: Caller, method: str):
    receiver = await service.receiver(admin, await service.link(admin))
    for url in (service.receivers.url(receiver), service.addresses.of_app(APP.client_id)):
        answer = await service.http.request(method, url, headers=signed(b"{}", SECRET, "issue"))
        assert answer.status_code == 405


async def test_addresses_without_their_secret_part_are_not_there(service: Receiving, admin: Caller):
    receiver = await service.receiver(admin, await service.link(admin))
    for url in (service.receivers.url(receiver), service.addresses.of_app(APP.client_id)):
        bare = url.rpartition("/")[0]
        for path in (bare, bare + "/", url + "/", url + "/x"):
            assert await service.post(path, b"{}", signed(b"{}", SECRET, "issue")) in {401, 404}


async def test_many_at_once_are_all_stored(service: Receiving, admin: Caller):
    await service.link(admin)
    bodies = [envelope("created", {"number": number}) for number in range(60)]
    assert set(await asyncio.gather(*(service.send(body) for body in bodies))) == {200}
    stored = await service.events()
    assert sorted(event.body or b"" for event in stored) == sorted(bodies)
    positions = [event.position for event in stored]
    assert positions == list(range(positions[0], positions[0] + 60))
