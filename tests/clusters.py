"""Real clusters of Redis servers on this machine: Redis Cluster, and a master with its replica and a sentinel."""

from __future__ import annotations

import random
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collection.embedded import find_server

SLOTS = 16_384


class Node:
    """One server on a port of 127.0.0.1 with a password. Its data stay when it is killed and started again."""

    def __init__(self, folder: Path, port: int, password: str, *lines: str, sentinel: bool = False) -> None:
        self.port = port
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = [f"port {port}", "bind 127.0.0.1", f"requirepass {password}", f"dir {folder}", "logfile log", *lines]
        if not sentinel:
            own += [f"masterauth {password}", "appendonly yes", 'save ""']
        self._configuration = "\n".join([*own, ""]).encode()
        self._sentinel = sentinel
        retry = Retry(NoBackoff(), 0)
        self.client = redis.Redis(port=port, password=password, protocol=2, decode_responses=True, retry=retry)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        self.launch()
        wait_for(self.answers)

    def launch(self) -> None:
        """Start the process."""
        server = str(find_server().server)
        with tempfile.TemporaryFile(dir=self.folder) as stdin, (self.folder / "out").open("ab") as out:
            stdin.write(self._configuration)
            stdin.seek(0)
            command = [server, "-"]
            if self._sentinel:  # which writes what it finds out into its configuration
                (self.folder / "sentinel.conf").write_bytes(self._configuration)
                command = [server, "sentinel.conf", "--sentinel"]
            self.process = subprocess.Popen(
                command, stdin=stdin, stdout=out, stderr=out, cwd=self.folder, env={"LC_ALL": "C"}
            )

    def answers(self) -> bool:
        """Tell whether it has its data; raises AssertionError where its process ended."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False

    def kill(self) -> None:
        """End the process at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.client.connection_pool.disconnect()

    def ask(self, *command: object) -> Any:
        """Send a command."""
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]


class RedisCluster:
    """Some masters without replicas, among which all slots are spread, but for those that are `spare`."""

    def __init__(
        self, folder: Path, *, size: int = 3, spare: int = 0, modules: bool = True, password: str | None = None
    ) -> None:
        self.password = password or secrets.token_hex(8)
        self._size = size
        binary = find_server(modules=modules)
        lines = ["cluster-enabled yes", "cluster-announce-ip 127.0.0.1", "cluster-node-timeout 1000"]
        if modules and binary.module:
            lines.append(f"loadmodule {binary.module}")
        ports = free_ports(2 * (size + spare))
        self.nodes = [
            Node(folder / str(port), port, self.password, *lines, f"cluster-port {bus}")
            for port, bus in zip(ports[::2], ports[1::2], strict=True)
        ]

    @property
    def url(self) -> str:
        """The URL that names all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{self.password}@{hosts}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.kill)
                if node.process is None:
                    node.launch()
            for number, node in enumerate(self.nodes):
                wait_for(node.answers)
                node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
                first, after = (SLOTS * place // self._size for place in (number, number + 1))
                if number < self._size:
                    node.ask("CLUSTER ADDSLOTSRANGE", first, after - 1)
            for node in self.nodes[1:]:
                bus = node.ask("CONFIG GET", "cluster-port")["cluster-port"]
                self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, bus)
            wait_for(self.is_ready)
            stack.pop_all()
        return self

    def is_ready(self) -> bool:
        """Tell whether all nodes know each other and serve all slots."""
        states = [node.ask("CLUSTER INFO") for node in self.nodes]
        size = str(len(self.nodes))
        return all(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == size for state in states)

    def owner(self, key: str) -> Node:
        """Return the node that has a key."""
        slot = self.nodes[0].ask("CLUSTER KEYSLOT", key)
        for first, last, address, *_ in self.nodes[0].ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                [owner] = [node for node in self.nodes if node.port == int(address[1])]
                return owner
        raise LookupError(key)

    def begin_to_move(self, key: str, target: Node) -> None:
        """Announce that the slot of a key goes to another node; no key has gone yet."""
        source, slot = self.owner(key), target.ask("CLUSTER KEYSLOT", key)
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))

    def move(self, key: str, target: Node) -> None:
        """Move the keys of the slot, then the slot."""
        source, slot = self.owner(key), target.ask("CLUSTER KEYSLOT", key)
        while names := source.ask("CLUSTER GETKEYSINSLOT", slot, 100):
            address = ("127.0.0.1", target.port, "", 0, 5000)
            source.ask("MIGRATE", *address, "AUTH", self.password, "KEYS", *names)
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER SETSLOT", slot, "NODE", target.ask("CLUSTER MYID"))

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


class WatchedRedis:
    """A master, its replica, and a sentinel that alone decides when the replica takes over."""

    name = "the-master"

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_hex(8)
        master, replica, sentinel = free_ports(3)
        module = find_server().module
        lines = [f"loadmodule {module}"] if module else []
        lines += ["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"]
        self.master = Node(folder / "master", master, self.password, *lines)
        self.replica = Node(folder / "replica", replica, self.password, *lines, f"replicaof 127.0.0.1 {master}")
        self.sentinel = Node(
            folder / "sentinel",
            sentinel,
            self.password,
            f"sentinel monitor {self.name} 127.0.0.1 {master} 1",
            f"sentinel auth-pass {self.name} {self.password}",
            f"sentinel down-after-milliseconds {self.name} 300",
            f"sentinel failover-timeout {self.name} 2000",
            sentinel=True,
        )

    @property
    def nodes(self) -> Sequence[Node]:
        return self.master, self.replica, self.sentinel

    @property
    def url(self) -> str:
        """The URL that names the sentinel."""
        login, address = f":{self.password}@", f"127.0.0.1:{self.sentinel.port}"
        return f"redis+sentinel://{login}{address}/{self.name}/0?sentinel_password={self.password}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.kill)
            self.master.start()
            self.replica.start()
            wait_for(lambda: self.replica.client.info("replication")["master_link_status"] == "up")
            self.sentinel.start()  # last: it asks the master for its replicas at once, and then each ten seconds
            wait_for(lambda: self.replica_state().get("master-link-status") == "ok")
            stack.pop_all()
        return self

    def state(self) -> dict[str, str]:
        """What the sentinel knows of the master."""
        return _fields(self.sentinel.ask("SENTINEL", "MASTER", self.name))

    def replica_state(self) -> dict[str, str]:
        """What the sentinel knows of the replica."""
        known = self.sentinel.ask("SENTINEL", "REPLICAS", self.name)
        return _fields(known[0]) if known else {}

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def _fields(answer: Any) -> dict[str, str]:
    return dict(zip(answer[::2], answer[1::2], strict=True))


def free_ports(count: int) -> list[int]:
    """Find ports that nothing listens at, below those that systems give to clients: they stay free for a restart."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(10_000, 32_000), 1_000):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise LookupError("no free ports")
