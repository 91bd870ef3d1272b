"""A real `serve` under a hostile workload: no secret comes out, whatever is written is searched for each of them.

What is left out is what the service is for: the body of a 2xx answer of Sentry, which comes as Sentry sent it.
"""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from service.app import Runtime
from service.connections.keyring import Keyring
from service.connections.linking import LinkRequest
from service.sandbox.app import Sandbox
from service.sandbox.world import DEMO_TOKENS
from service.settings import Settings
from service.tenants.caller import Caller, Role
from tests.attacks.process import running, start
from tests.canary import find_canary
from tests.sentry.upstream import Request, Upstream, json_answer, serve
from tests.serving import free_port

OPAQUE = "Zq7.opaque-Token_of~no+known/form-4Kd9"  # no prefix, no hexadecimal: known to nobody but the vault
METRICS_TOKEN = "metrics-9f3c51aa77e0-token"
PASSWORD = "p4ss:w0rd-of-the-database-81c2"
ROOT = {"version": "0", "auth": {"scopes": ["org:read", "member:read"]}, "user": {"id": "1", "email": "a@b.example"}}

USERS = "query Users($id: ID!) { users(connectionIds: [$id]) { nodes { email } failures { message cure extensions } } }"
PROXY = """query Proxy($id: ID!, $path: String!) {
  proxy(connectionId: $id, path: $path) { statusCode result headers { name value } }
}"""
WRITE = """mutation Write($id: ID!, $path: String!, $key: String) {
  proxy(connectionId: $id, method: "POST", path: $path, body: {a: 1}, idempotencyKey: $key) { statusCode result }
}"""


async def quote_everything(request: Request, writer: asyncio.StreamWriter) -> None:
    """A Sentry that can be linked, and that quotes each request in its refusals: text, JSON, headers, redirects."""
    target = request.line.split(" ")[1]
    sent = dict(request.headers)
    if target == "/api/0/":
        writer.write(json_answer(ROOT))
    elif target.startswith("/api/0/organizations/quoting/?") or target == "/api/0/organizations/quoting/":
        writer.write(json_answer({"id": "7", "slug": "quoting", "name": "Quoting"}))
    else:
        status = next((word for word in target.split("/") if word.isdecimal() and len(word) == 3), "400")
        quoted = {
            "detail": f"Bad request: {sent}",
            "token": [sent["authorization"]],
            "base64": base64.b64encode(sent["authorization"].encode()).decode() if status == "none" else "",
        }
        headers = {
            "Location": f"http://127.0.0.1:1/?{sent['authorization'].removeprefix('Bearer ')}",
            "X-Sentry-Error": sent["authorization"],
            "Link": f'<u>; rel="next"; results="true"; cursor="{sent["authorization"]}"',
            "WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{sent["authorization"]}"',
        }
        writer.write(json_answer(quoted, status=f"{status} Quoted", headers=headers))


@dataclass
class Secrets:
    values: dict[str, str] = field(default_factory=dict)

    def leaks(self, where: str, content: bytes) -> Iterator[str]:
        for name, value in self.values.items():
            for encoding in find_canary(value, content):
                yield f"{name} as {encoding} in {where}"


def read_keyring(path: Path) -> dict[str, str]:
    """Its keys, raw: canaries are sought as text, and so these as hex and base64 of their bytes too."""
    keyring = Keyring.load(path)
    keys = {f"key {each}": keyring.key(each) for each in keyring.key_ids}
    keys |= {"pepper": keyring.api_key_pepper, "cursor key": keyring.cursor_key}
    found: dict[str, str] = {}
    for name, key in keys.items():
        found |= {f"{name} hex": key.hex(), f"{name} base64": base64.b64encode(key).decode().rstrip("=")}
        found[f"{name} base64url"] = base64.urlsafe_b64encode(key).decode().rstrip("=")
    return found


def sign(key: ECKey, **claims: Any) -> str:
    facts = {"iss": "gateway", "aud": "graph", "sub": "someone", "exp": int(time.time()) + 600, **claims}
    return jwt.encode({"alg": "ES256", "kid": "k1"}, facts, key)


async def test_no_secret_comes_out_of_a_real_server(tmp_path: Path, sandbox: Sandbox) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    keyring_file = tmp_path / "keyring.json"
    Keyring.init(keyring_file)
    signing_key, foreign_key = (ECKey.generate_key("P-256", {"kid": "k1"}) for _ in range(2))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [signing_key.as_dict(private=False)]}))

    async with serve(quote_everything) as quoting:
        common: dict[str, Any] = {
            "database_url": f"sqlite:///{data / 'graph.db'}",
            "keyring_file": keyring_file,
            "upstream_attempts": 1,
            "upstream_deadline": 5,
        }
        allowed = (sandbox.url, quoting.origin.url)
        tenant_id, connections, keys = await prepare(Settings(**common, egress_allow=allowed), sandbox, quoting)
        issuer = {
            "issuer": "gateway",
            "audience": "graph",
            "jwks_file": str(tmp_path / "jwks.json"),
            "tenants": [tenant_id],
            "max_role": "admin",
        }
        good = sign(signing_key, tenant=tenant_id, role="admin")
        secrets = Secrets(
            {
                "sandbox token": DEMO_TOKENS.admin,
                "opaque token": OPAQUE,
                "metrics token": METRICS_TOKEN,
                "JWT": good,
                "JWT of another tenant": sign(signing_key, tenant="ten_other"),
                "JWT expired": sign(signing_key, tenant=tenant_id, exp=1),
                "JWT forged": sign(foreign_key, tenant=tenant_id),
                **{f"API key {name}": key for name, key in keys.items()},
                **read_keyring(keyring_file),
            }
        )
        settings = common | {
            "port": free_port(),
            "egress_allow": json.dumps(allowed),
            "jwt_issuers": json.dumps([issuer]),
            "metrics_token": METRICS_TOKEN,
            "log_level": "debug",
            "graphiql": "true",
            "introspection": "true",
            "suggestions": "true",
        }
        answers: list[bytes] = []
        async with running(out, "serve", **settings) as http:
            await attack(http, connections, secrets, keys["admin"], good, answers)
            scrape = await http.get("/metrics", headers={"authorization": f"Bearer {METRICS_TOKEN}"})
            assert scrape.status_code == 200
            assert b"sentry_graph_sentry_calls" in scrape.content
            files = list(read_files(data))  # with the write-ahead log
            answers.append(scrape.content)
            break_the_database(data / "graph.db")
            for known in (keys["admin"], good):
                await until_forgotten(http, {"authorization": f"Bearer {known}"})
            for authorization in (f"Bearer {keys['unused']}", f"Bearer {good}", f"Bearer {keys['admin']}"):
                for query in (USERS, PROXY):
                    variables = {"id": connections["quoting"], "path": "organizations/{organization}/400/"}
                    answers.append(
                        whole(await ask(http, query, variables=variables, headers={"authorization": authorization}))
                    )
        # Settings that cannot be used, with secrets in them.
        for wrong in (
            {"database_url": f"postgresql://user:{PASSWORD}@127.0.0.1:1/name"},
            {"database_url": f"postgresql://user:{PASSWORD}@127.0.0.1:x/name"},
            {"database_url": f"mysql://user:{PASSWORD}@127.0.0.1/name"},
            {"metrics": METRICS_TOKEN},
            {"egress_allow": json.dumps([f"https://user:{PASSWORD}@sentry.example"])},
            {"public_url": f"https://user:{PASSWORD}@graph.example"},
        ):
            process = await start(out, "serve", **(settings | wrong))
            async with asyncio.timeout(30):
                assert await process.wait() != 0, wrong

    secrets.values["database password"] = PASSWORD
    output, errors = (out / "output").read_bytes(), (out / "errors").read_bytes()
    leaks = [*secrets.leaks("output", output), *secrets.leaks("errors", errors)]
    for content in answers:
        leaks += secrets.leaks(f"an answer: {content[:300]!r}", content)
    for name, content in [*files, *read_files(data)]:
        leaks += secrets.leaks(name, content)
    assert leaks == []
    # It was a real workload, and each place was written to.
    assert errors.count(b'"event": "request"') > 60
    assert len(answers) > 60
    assert any(OPAQUE in dict(request.headers)["authorization"] for request in quoting.requests)
    assert any(b"quoting" in content for _, content in files)


async def prepare(
    settings: Settings, sandbox: Sandbox, quoting: Upstream
) -> tuple[str, dict[str, str], dict[str, str]]:
    """A tenant with a connection to either Sentry and some API keys."""
    runtime = Runtime.build(settings)
    async with runtime.started():
        tenant = await runtime.services.tenants.create_tenant("Acme")
        pepper = runtime.keyring.api_key_pepper
        keys = {}
        for name in ("admin", "revoked", "unused"):
            record, keys[name] = await runtime.services.tenants.create_key(
                tenant.id, name=name, role=Role.ADMIN, pepper=pepper
            )
            if name == "revoked":
                await runtime.services.tenants.revoke_key(tenant.id, record.id)
        caller = Caller(tenant.id, Role.ADMIN, "test")
        connections = {}
        for name, token, origin in (
            ("lumen-labs", DEMO_TOKENS.admin, sandbox.url),
            ("quoting", OPAQUE, quoting.origin.url),
        ):
            request = LinkRequest(token=token, origin=origin, organization=name, external_id=name)
            connections[name] = (await runtime.services.linker.link(caller, request)).id
    return tenant.id, connections, keys


async def attack(
    http: httpx.AsyncClient,
    connections: dict[str, str],
    secrets: Secrets,
    key: str,
    good_jwt: str,
    answers: list[bytes],
) -> None:
    """Everything that a caller, and the Sentry behind, can do to have a secret written down."""
    quoting, sandbox = connections["quoting"], connections["lumen-labs"]
    admin = {"authorization": f"Bearer {key}"}
    by_jwt = {"authorization": f"Bearer {good_jwt}"}
    for headers in (admin, by_jwt):
        answers.append(whole(await ask(http, USERS, variables={"id": sandbox}, headers=headers)))
        answers.append(whole(await ask(http, USERS, variables={"id": quoting}, headers=headers)))
    for status in (300, 302, 307, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503):
        path = f"organizations/{{organization}}/releases/x/{status}/"
        variables = {"id": quoting, "path": path, "key": f"k{status}"}
        answers.append(whole(await ask(http, PROXY, variables=variables, headers=admin)))
        answers.append(whole(await ask(http, WRITE, variables=variables, headers=admin)))
        answers.append(whole(await ask(http, WRITE, variables=variables, headers=admin)))
        for method, headers in (("GET", admin), ("POST", admin), ("POST", admin | {"idempotency-key": f"r{status}"})):
            answers.append(whole(await http.request(method, f"/proxy/{quoting}/api/0/{path}", headers=headers)))
    link = (
        "mutation Link($t: String!, $o: String!) { linkConnection(input: {token: $t, origin: $o, organization: $o}) "
        "{ id name } }"
    )
    for name, secret in secrets.values.items():
        if name.startswith(("key ", "pepper", "cursor key")):
            continue  # no caller knows them
        # A secret where it does not belong, by a caller who knows it, and one who guesses.
        requests: list[tuple[str, dict[str, Any], dict[str, str]]] = [
            (link, {"t": secret, "o": "https://127.0.0.1"}, admin),
            (link, {"t": "sntryu_x", "o": secret}, admin),
            (PROXY, {"id": quoting, "path": f"https://{secret}@evil.example/"}, admin),
            (PROXY, {"id": {"a": secret}}, admin),
        ]
        if name not in {"JWT", "API key admin", "API key unused"}:
            for scheme in ("Bearer", "Basic"):
                requests += [(USERS, {"id": quoting}, {"authorization": f"{scheme} {secret}"})]
        sent = [await ask(http, text, variables=variables, headers=headers) for text, variables, headers in requests]
        echoed = admin | {"x-secret": secret, "cookie": f"sid={secret}", "user-agent": secret, "referer": secret}
        sent += [
            await http.get(f"/proxy/{secret}/api/0/organizations/x/", headers=echoed),
            await http.get("/nothing", params={"token": secret}, headers=echoed),
            await http.post("/graphql", content=f'{{"query": "{secret}', headers=echoed),
            await http.post("/graphql", content=secret, headers={**echoed, "content-type": "a/b"}),
            await http.get("/metrics", headers={"authorization": f"Bearer x{secret}"}),
            await http.get("/graphql/ui/" + secret.replace("/", ""), headers=echoed),
        ]
        answers += map(whole, sent)
    named = f"query {key} {{ connections {{ totalCount }} }}"  # an API key is a name in GraphQL; it is logged
    assert (await ask(http, named, headers=admin)).json() == {"data": {"connections": {"totalCount": 2}}}


async def until_forgotten(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Wait until the process has to ask its database, which is broken, who this is."""
    async with asyncio.timeout(30):
        while (await ask(http, "{ __typename }", headers=headers)).status_code == 200:  # noqa: ASYNC110 - seen there only
            await asyncio.sleep(0.1)


async def ask(http: httpx.AsyncClient, query: str, *, headers: dict[str, str], **body: Any) -> httpx.Response:
    return await http.post("/graphql", json={"query": query, **body}, headers=headers)


def whole(answer: httpx.Response) -> bytes:
    """An answer's head and body."""
    head = b"\n".join(name + b": " + value for name, value in answer.headers.raw)
    return f"{answer.status_code}\n".encode() + head + b"\n" + answer.content


def read_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        yield path.name, path.read_bytes()


def break_the_database(path: Path) -> None:
    """What nobody foresees: tables vanish, and a ciphertext is another."""
    with sqlite3.connect(path, timeout=10) as database:
        database.execute("UPDATE credentials SET access_token = (SELECT max(access_token) FROM credentials)")
        database.execute("ALTER TABLE tenants RENAME TO tenants_gone")
        database.execute("ALTER TABLE api_keys RENAME TO api_keys_gone")
