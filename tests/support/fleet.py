"""A deployment as it is in production: two replicas of the real command behind the shipped nginx, stores of their own.

All of it is on loopback; between the replicas and the broker stands a gate that can be taken away.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.clock import monotonic
from app.schema import migrate_schema
from tests.support.gate import gate_before
from tests.support.production import API_SECRET, APP_CODE, production_environment
from tests.support.proxied import proxied
from tests.support.replicas import until
from tests.support.simulated import SimulatedBroker, simulated_broker
from tests.support.usage import Watched, counted_backend
from workbench.children import Child, backend, free_port
from workbench.servers import Postgres
from workbench.valkey import Valkey


class Replica:
    """One replica: each of its lives has a log of its own."""

    def __init__(
        self, name: str, port: int, environment: dict[str, str], folder: Path, *, is_counted: bool = False
    ) -> None:
        self.name = name
        self._is_counted = is_counted
        self.port = port
        self._environment = environment
        self._folder = folder
        self._lives: list[Child] = []

    async def start(self) -> float:
        """Start it, and return the seconds until it answered."""
        log = self._folder / f"{self.name}-{len(self._lives) + 1}.log"
        run = counted_backend if self._is_counted else backend
        child = run(self.port, environment=self._environment, log=log)
        self._lives.append(child)
        began_at = monotonic()
        await asyncio.to_thread(child.start)
        return monotonic() - began_at

    def watched(self) -> Watched:
        """Return a look at what it uses; of one that is counted."""
        broker_port = urlsplit(self._environment["BROKER_BASE_URL"]).port
        return Watched(self._folder / "tasks.json", self.port, broker_port or 0)

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        await asyncio.to_thread(self._lives[-1].kill)

    async def stop(self) -> float:
        """Ask it to end, as a deployment does, and return the seconds that it took."""
        began_at = monotonic()
        await asyncio.to_thread(self._lives[-1].stop)
        return monotonic() - began_at

    def written(self) -> str:
        """Return what it has logged in all of its lives."""
        return "".join(each.output() for each in self._lives)


@dataclass(frozen=True)
class Fleet:
    """Everything that a drill can break, and where it is reached."""

    url: str
    replicas: list[Replica]
    database_url: str
    cluster: Postgres
    valkey: Valkey | None
    broker: SimulatedBroker
    gate: Child
    environment: dict[str, str]
    """What each replica is started with, for commands of an operator."""
    folder: Path = field(repr=False)

    async def is_used(self, replica: Replica, by: int = 0) -> None:
        """Return when the proxy has had answers of a replica, to both kinds, since its log was `by` bytes long.

        One that had died is left out for five seconds after its last failure (`fail_timeout`), by each upstream alone.
        """

        async def has_answered() -> bool:
            lines = [json.loads(line) for line in self.access_log.read_bytes()[by:].splitlines() if line.endswith(b"}")]
            answered = {each["method"] for each in lines if each["replica"] == f"127.0.0.1:{replica.port}"}
            return {"GET", "POST"} <= answered

        await until(has_answered, within=30)

    @property
    def access_log(self) -> Path:
        return self.folder / "nginx" / "access.log"

    def written(self) -> str:
        """Return everything that replicas and proxy have logged."""
        proxy = [(self.folder / "nginx" / name).read_text("utf-8") for name in ("access.log", "errors.log")]
        return "".join([*(each.written() for each in self.replicas), *proxy])


@contextmanager
def _short_folder() -> Iterator[Path]:
    """Give a folder with a name so short that a server's socket can be beside its data."""
    with tempfile.TemporaryDirectory(prefix="pg-drill-") as name:
        Path(name).chmod(0o711)  # its server may run as somebody else
        yield Path(name)


@asynccontextmanager
async def fleet(
    folder: Path,
    settings: Mapping[str, str],
    *,
    with_valkey: bool,
    strict: str = "on",
    replicas: int = 2,
    counted: bool = False,
) -> AsyncIterator[Fleet]:
    """Run all of it, with real durability; `strict` is whether the broker enforces its limits."""
    async with AsyncExitStack() as stack:
        short = stack.enter_context(_short_folder())
        stack.callback(lambda: shutil.copy(short / "pg" / "postgres.log", folder))
        cluster = await asyncio.to_thread(stack.enter_context, Postgres(short / "pg", durable=True))
        database_url = await asyncio.to_thread(cluster.create_database, "partner")
        await asyncio.to_thread(migrate_schema, SecretStr(database_url))
        valkey = stack.enter_context(Valkey(folder / "valkey", is_kept=True)) if with_valkey else None
        broker = stack.enter_context(simulated_broker(
            folder, SIMULATOR_APP_CODE=APP_CODE, SIMULATOR_API_SECRET=API_SECRET, SIMULATOR_RATE_LIMITS=strict
        ))  # fmt: skip
        gate, broker_url = stack.enter_context(gate_before(urlsplit(broker.url).port or 0, folder / "gate"))
        more = {"RATE_LIMIT_URL": valkey.url} if valkey else {}
        environment = production_environment(database_url, broker_url, **more, **settings)
        running = [
            Replica(f"replica-{number}", free_port(), environment, folder, is_counted=counted)
            for number in range(1, replicas + 1)
        ]
        for each in running:
            await each.start()
            stack.push_async_callback(each.stop)
        url = stack.enter_context(proxied(folder / "nginx", [each.port for each in running]))
        yield Fleet(url, running, database_url, cluster, valkey, broker, gate, environment, folder)
