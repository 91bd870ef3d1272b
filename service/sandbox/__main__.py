"""``python -m service.sandbox``: a stand-in Sentry on a loopback port."""

import argparse
import sys
from contextlib import suppress

from service.sandbox.app import SandboxConfig, create_sandbox
from service.sandbox.server import serve_forever


def main() -> None:
    """Reads the arguments and serves until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m service.sandbox", description="A stand-in Sentry on a loopback port."
    )
    parser.add_argument("--port", type=int, default=9100, help="0 picks a free one")
    parser.add_argument("--manner", choices=["23.7", "latest"], default="latest")
    parser.add_argument("--rate-limit", type=int, default=40, help="calls a second; 0 for no limit and no headers")
    parser.add_argument("--control", action="store_true", help="serve /__sandbox__/ to switch faults")
    chosen = parser.parse_args()
    config = SandboxConfig(manner=chosen.manner, rate_limit=chosen.rate_limit or None, control=chosen.control)

    def announce(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):
        serve_forever(create_sandbox(config), chosen.port, announce)


if __name__ == "__main__":
    main()
