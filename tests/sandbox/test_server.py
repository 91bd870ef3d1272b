import httpx

from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS


async def test_is_served_over_a_real_socket(sandbox: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=sandbox.url) as client:
        response = await client.get("/api/0/", headers={"Authorization": f"Bearer {DEMO_TOKENS.admin}"})
    assert response.json()["user"]["email"] == "mara.quill@lumen-labs.example"
    assert sandbox.count("GET", r"^/api/0/$") == 1
