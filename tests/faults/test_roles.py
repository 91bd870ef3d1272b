"""`serve --role web` answers, and `--role worker`, as often as one likes, does the work behind it; on PostgreSQL."""

import json
from contextlib import AsyncExitStack

from tests.faults.replicas import Service, until
from tests.sentry.upstream import answer, serve
from tests.serving import free_port

MAKE = "mutation Make($url: String!) { createWebhookEndpoint(input: { url: $url }) { webhookEndpoint { id } } }"
TEST = "mutation Test($id: ID!) { testWebhookEndpoint(id: $id) { id } }"
LOOK = """query Look($id: ID!) {
  webhookEndpoint(id: $id) { deliveries(first: 10) { nodes { status attempts { number } } } }
}"""
EVENTS = 5


async def test_workers_deliver_what_a_web_process_has_taken(postgres_service: Service):
    service = postgres_service
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(serve(answer(b"")))
        allowed = {"forward_allow": json.dumps([receiver.origin.url])}
        web = await stack.enter_async_context(service.replica(free_port(), role="web", **allowed))
        made = (await web.ask(MAKE, url=receiver.origin.url)).json()["data"]["createWebhookEndpoint"]
        endpoint_id = made["webhookEndpoint"]["id"]
        for _ in range(EVENTS):
            assert (await web.ask(TEST, id=endpoint_id)).json()["data"]["testWebhookEndpoint"]["id"]

        async def deliveries() -> list[tuple[str, int]]:
            found = (await web.ask(LOOK, id=endpoint_id)).json()["data"]["webhookEndpoint"]["deliveries"]["nodes"]
            return [(each["status"], len(each["attempts"])) for each in found]

        assert await deliveries() == [("PENDING", 0)] * EVENTS
        workers = [
            await stack.enter_async_context(service.replica(free_port(), role="worker", **allowed)) for _ in range(2)
        ]
        assert [(await worker.http.post("/graphql")).status_code for worker in workers] == [404, 404]

        async def are_delivered() -> bool:
            return await deliveries() == [("DELIVERED", 1)] * EVENTS

        await until(are_delivered)
        assert len(receiver.requests) == EVENTS, "each is sent by one of them"
        for worker in workers:
            worker.terminate()
            assert await worker.wait_until_ended() == 0
        assert (await web.http.get("/ready")).status_code == 200


async def test_sqlite_has_no_roles(sqlite_service: Service):
    for role in ("web", "worker"):
        code, output, errors = await sqlite_service.run("serve", "--role", role, port=free_port())
        assert (code, output) == (1, "")
        assert errors.startswith("Error: SENTRY_GRAPH_ROLE: SQLite has one process")
