"""Start the whole example: the service (its demo), two subgraphs of our own, and a gateway over the three.

`make -C docs/gateway` runs it. It ends with Ctrl+C or SIGTERM, and everything that it started ends with it.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from service.schema.graphiql.node import find_node, npm_ci_once
from service.settings import PREFIX

HERE = Path(__file__).parent
KEY_VARIABLE = "SERVICE_KEY"
READY_SECONDS = 60


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        print("starting; the first time, the gateway's packages are installed too …", flush=True)
        npm_ci_once(HERE)
        service_url = options.service or f"http://127.0.0.1:{options.service_port}"
        children = []
        if options.service is None:
            children.append(stack.enter_context(run_demo(options.service_port, service_url)))
        key = os.environ[KEY_VARIABLE]
        subgraphs_url = f"http://127.0.0.1:{options.subgraphs_port}"
        children.append(stack.enter_context(run_node("subgraphs.mjs", options.subgraphs_port)))
        wait_for(f"{subgraphs_url}/customers?query={{__typename}}", children)
        addresses = {"SERVICE_URL": service_url, "SUBGRAPHS_URL": subgraphs_url}
        children.append(stack.enter_context(run_node("gateway.mjs", options.port, **addresses)))
        wait_for(f"http://127.0.0.1:{options.port}/readiness", children)
        greet(options.port, key)
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        sys.exit("One of the servers has ended; so have the others.")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=4000, help="the gateway's")
    parser.add_argument("--subgraphs-port", type=int, default=4001)
    parser.add_argument("--service-port", type=int, default=4002, help="the demo's")
    parser.add_argument(
        "--service", metavar="URL", help=f"use this running service, with the API key in {KEY_VARIABLE}"
    )
    options = parser.parse_args()
    if options.service and not os.environ.get(KEY_VARIABLE):
        parser.error(f"put an API key of the service into the environment as {KEY_VARIABLE}")
    return options


@contextlib.contextmanager
def run_demo(port: int, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo on data of its own, which are gone afterwards; its key is put where ``--service`` expects one."""
    with tempfile.TemporaryDirectory(prefix="gateway-example-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment[f"{PREFIX}DATABASE_URL"] = f"sqlite:///{folder}/sentry-graph.db"
        environment[f"{PREFIX}LOG_LEVEL"] = "warning"
        environment[f"{PREFIX}KEYRING_FILE"] = f"{folder}/keyring.json"
        service = [sys.executable, "-m", "service"]
        with running([*service, "demo", "--port", str(port)], environment) as demo:
            wait_for(f"{url}/health", [demo])
            made = subprocess.run(
                [*service, "api-keys", "create", "demo", "gateway"], env=environment, check=True, capture_output=True
            )
            os.environ[KEY_VARIABLE] = made.stdout.decode().strip()
            yield demo


def run_node(script: str, port: int, **environment: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return running([str(find_node()), str(HERE / script)], {**os.environ, "PORT": str(port), **environment})


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(url: str, children: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).is_success:
                return
        if any(child.poll() is not None for child in children):
            sys.exit("A server did not start; the lines above say why.")
        time.sleep(0.1)
    sys.exit(f"{url} did not answer within {READY_SECONDS} seconds.")


def greet(port: int, key: str) -> None:
    print(f"""
  The supergraph is at http://127.0.0.1:{port}/graphql: open it, and put this into GraphiQL's tab `Headers`:

    {{"authorization": "Bearer {key}"}}

  Stop with Ctrl+C.
""", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
