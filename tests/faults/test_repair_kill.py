"""A worker killed with -9 amid a look: what was missed is told once, by whoever looks next."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

from service.columns import now
from service.sandbox.app import Sandbox
from service.sandbox.faults import Delay
from tests.faults.refreshing import prepare_refreshing
from tests.faults.replicas import until
from tests.processes import start_service
from tests.repair.yard import A_WHILE, lay_out
from tests.scale import scaled
from tests.serving import free_port

KILLS = scaled(test=2, soak=100)
"""On each engine."""
CHANGES = 6


async def test_what_a_killed_worker_left_is_told_once(database_url: str, tmp_path: Path, sandbox: Sandbox):
    async with prepare_refreshing(database_url, tmp_path, sandbox, repair_seconds=3600) as given:
        yard = await lay_out(given.bench)
        await yard.worker.replica.store.unlink(given.bench.admin, given.service.connection_id)
        await yard.look()
        expected: list[str] = []
        for number in range(KILLS):
            for issue in random.sample(yard.issues, CHANGES):
                status = "resolved" if issue.status != "resolved" else "ignored"
                await yard.change(issue, status=status)
                expected.append(f"issue.{status.replace('ignored', 'archived')} {issue.id}")
            assert await yard.look() == []
            await yard.pass_time(A_WHILE)
            await yard.edit(next_at=now() - timedelta(seconds=1))
            if number % 2:
                sandbox.faults.add(Delay(path="/issues/", seconds=0.2))
            sandbox.requests.clear()
            with TemporaryFile() as said:
                served = given.service.settings | {"port": free_port()}
                process = await start_service("serve", output=said, errors=said, **served)
                try:
                    await until(lambda: sandbox.count("GET", "/issues/") > 0)
                    await asyncio.sleep(random.uniform(0, 0.05))
                finally:
                    process.kill()
                    await process.wait()
            sandbox.faults.clear()
            await yard.pass_time(timedelta(minutes=1))  # to the end of its lease
            await yard.worker.repairer.sweep()
            assert sorted(f"{type_} {issue}" for type_, issue, is_repair in await yard.told() if is_repair) == sorted(
                expected
            )
