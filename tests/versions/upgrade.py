"""`make upgrade-test`: the last release and this code on one database, under traffic.

There is no tagged release yet. The last release is the commit before the first migration that is
not in the baseline. When a release is tagged, name its tag here.
"""

import asyncio
import io
import random
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from rich.console import Console

from app.configuration.snapshots.follower import POLL_SECONDS
from tests.guardian import guarded_folder
from tests.paths import ROOT
from tests.ports import free_port
from tests.process.conftest import Process
from tests.versions import rights

LAST_RELEASE = "2ffb9b9dd906d69711dcaa1e310bde492689bfe0"
_PARTS = ("app", "sql", "migrations")
_ENVIRONMENTS = ("local", "development", "staging")
_CLIENTS = 6
_PAUSE_SECONDS = 0.05
_ANSWER_SECONDS = 10.0
_COMMAND_SECONDS = 120.0
_SHOWN_ERRORS = 10
_FLAG = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"in": [{"var": "plan"}, ["team"]]}, "on", "off"]},
}


class MissingReleaseError(Exception):
    """The commit of the last release is not in this clone."""


def export_release(folder: Path) -> Path:
    """Write the code of the last release to a folder. Raises MissingReleaseError."""
    command = ["git", "archive", LAST_RELEASE, *_PARTS]
    try:
        archive = subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, timeout=_COMMAND_SECONDS
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise MissingReleaseError(
            f"commit {LAST_RELEASE[:12]} is not in this clone; fetch the whole history"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    return folder


@dataclass
class Traffic:
    """Clients that use the instances in rotation, as behind a load balancer."""

    client: ClientSession
    headers: dict[str, str]
    rotation: list[tuple[str, Process]]
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    phase: str = ""
    is_over: bool = False

    async def run_client(self, number: int) -> None:
        """Write, and read each write from another instance, until the traffic is over."""
        place = f"/v1/environments/{_ENVIRONMENTS[number % len(_ENVIRONMENTS)]}"
        key, version, revision = f"client/{number}", 0, 0
        kind = "secret" if number == 0 else "setting"
        while not self.is_over:
            value = f"{number}-{version + 1}"
            condition = {"If-Match": f'"{version}"'} if version else {"If-None-Match": "*"}
            body = {"kind": kind, "value": value, "message": f"write {version + 1}"}
            path = f"{place}/configurations/{key}"
            written = await self._ask("write", "PUT", path, body=body, headers=condition)
            if written is not None:
                version, revision = written["version"], written["revision"]
            query = f"?min_revision={revision}&reveal=true"
            read = await self._ask("read", "GET", path + query)
            if written is not None and read is not None and read["value"] != value:
                self.fail(f"read of {key} is {read['value']}, not {value}")
            await self._use(place, number)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _use(self, place: str, number: int) -> None:
        context = {"targetingKey": f"user-{number}", "plan": "team"}
        path = f"{place}/ofrep/v1/evaluate/flags/upgrade"
        evaluated = await self._ask("evaluation", "POST", path, body={"context": context})
        if evaluated is not None and evaluated["value"] is not True:
            self.fail(f"the flag is {evaluated['value']}")
        await self._ask("history", "GET", f"{place}/changes?limit=20")
        await self._ask("list", "GET", f"{place}/configurations?limit=50")

    async def create_flags(self) -> None:
        body = {"kind": "flag", "value": _FLAG, "message": "For the upgrade test"}
        for environment in _ENVIRONMENTS:
            path = f"/v1/environments/{environment}/configurations/upgrade"
            await self._ask("write", "PUT", path, body=body, headers={"If-None-Match": "*"})
        # The other instance polls every 2 s.
        await asyncio.sleep(2 * POLL_SECONDS)

    async def _ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Return the decoded answer, or None after recording an error."""
        version, process = random.choice(self.rotation)  # noqa: S311
        self.counts[f"{name} ({version})"] += 1
        try:
            async with self.client.request(
                method, process.url + path, json=body, headers={**self.headers, **(headers or {})}
            ) as answer:
                if answer.status in {200, 201}:
                    return await answer.json()
                text = (await answer.text())[:300]
                self.fail(f"{name} at the {version} code: {answer.status} {text}")
        except (ClientError, TimeoutError) as error:
            self.fail(f"{name} at the {version} code: {type(error).__name__}")
        return None

    def fail(self, text: str) -> None:
        self.errors.append(f"{self.phase}: {text}")


@dataclass
class Deployment:
    """Two places for instances on one data folder, with the embedded PostgreSQL."""

    folder: Path
    old_code: Path
    traffic: Traffic
    started: list[Process] = field(default_factory=list)

    async def start(self, version: str) -> None:
        """Start an instance, and add it to the rotation when it is ready."""
        process = Process(
            self.folder,
            free_port(),
            environment={
                "SEED_ON_START": "false",
                "REQUEST_LOG_SAMPLE": "0",
                **rights.ENVIRONMENT,
            },
            code=self.old_code if version == "old" else ROOT,
            is_fork=False,
        )
        self.started.append(process)
        await process.start()
        await process.ready()
        if not self.traffic.headers:
            self.traffic.headers = process.headers
        self.traffic.rotation.append((version, process))

    async def replace(self, before: str, after: str) -> None:
        """Start an instance of one version, then stop one of the other."""
        await self.start(after)
        place = next(place for place in self.traffic.rotation if place[0] == before)
        self.traffic.rotation.remove(place)
        assert await place[1].stop() == 0, place[1].log[-2_000:]

    async def command(self, *words: str) -> str:
        """Run a command of this code, and return its output."""
        process = Process(self.folder, free_port(), {"LOG_LEVEL": "error"}, is_fork=False)
        self.started.append(process)
        await process.start(*words)
        assert process.child is not None
        code = await asyncio.wait_for(process.child.wait(), _COMMAND_SECONDS)
        assert code == 0, process.log
        return process.log

    @property
    def added_migrations(self) -> int:
        old, new = (
            {path.name for path in (code / "migrations").glob("*.sql")}
            for code in (self.old_code, ROOT)
        )
        return len([name for name in new - old if not name.endswith(".rollback.sql")])


async def _go(folder: Path, seconds: float, tell: Callable[[str], None]) -> Traffic:
    old_code = export_release(folder / "old")
    data = folder / "data"
    data.mkdir()
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=_ANSWER_SECONDS)
    async with ClientSession(connector=connector, timeout=timeout) as client:
        traffic = Traffic(client, {}, [])
        deployment = Deployment(data, old_code, traffic)
        try:
            tell("starting two instances of the last release")
            await deployment.start("old")
            await deployment.start("old")
            await traffic.create_flags()
            async with asyncio.TaskGroup() as tasks:
                for number in range(_CLIENTS):
                    tasks.create_task(traffic.run_client(number))
                try:
                    await _roll(deployment, seconds, tell)
                finally:
                    traffic.is_over = True
            tell(f"audit: {(await deployment.command('audit', 'verify')).strip()}")
        finally:
            await asyncio.gather(*(_end(process) for process in deployment.started))
    return traffic


async def _roll(deployment: Deployment, seconds: float, tell: Callable[[str], None]) -> None:
    """Roll forward and back while the traffic runs."""
    steps = str(deployment.added_migrations)
    traffic = deployment.traffic
    limited = rights.LimitedRights(traffic.client)
    phases: Sequence[tuple[str, Callable[[], Awaitable[object]]]] = (
        ("the old code alone", lambda: asyncio.sleep(0)),
        ("a canary: the new code migrates", lambda: deployment.replace("old", "new")),
        ("the new code alone", lambda: deployment.replace("old", "new")),
        ("back: old code beside new", lambda: deployment.replace("new", "old")),
        ("back: the old code on the new schema", lambda: deployment.replace("new", "old")),
        (
            f"back: {steps} migrations rolled back",
            lambda: deployment.command("database", "rollback", "--steps", steps),
        ),
        ("forward again: the new code migrates", lambda: deployment.replace("old", "new")),
        ("forward again: the new code alone", lambda: deployment.replace("old", "new")),
    )
    for title, act in phases:
        traffic.phase = title
        await act()
        tell(title)
        async for error in limited.errors(traffic.rotation, traffic.headers):
            traffic.fail(error)
        await asyncio.sleep(seconds / len(phases))


async def _end(process: Process) -> None:
    if process.child is not None and process.child.returncode is None:
        try:
            await process.stop()
        except TimeoutError:
            process.child.kill()


def main(
    seconds: Annotated[float, typer.Option(help="The length of the traffic.")] = 600,
) -> None:
    """Roll a database forward and back under traffic. Every failed request is an error."""
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()

    def tell(event: str) -> None:
        console.print(f"{time.monotonic() - started:6.1f} s  {event}", markup=False)

    with guarded_folder():
        folder = Path(tempfile.mkdtemp(prefix="upgrade-"))
        folder.chmod(0o755)
        try:
            traffic = asyncio.run(_go(folder, seconds, tell))
        except MissingReleaseError as error:
            console.print(str(error))
            raise typer.Exit(2) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    for name, count in sorted(traffic.counts.items()):
        console.print(f"{name:20} {count:8}")
    for text in traffic.errors[:_SHOWN_ERRORS]:
        console.print(text, markup=False)
    console.print(f"{traffic.counts.total()} requests, {len(traffic.errors)} errors")
    raise typer.Exit(bool(traffic.errors))


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
