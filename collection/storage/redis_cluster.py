"""A client of Redis Cluster: redis-py's own, made to behave as its client of a single server does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.cluster import ClusterNode
from redis.commands.core import Script
from redis.exceptions import RedisClusterException


class Cluster(redis.RedisCluster):
    """Connects with its first call, and asks `hosts` again after one that found no node."""

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._options = options
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._connecting = threading.RLock()
        self._begun = self._connected = False

    def _connect(self) -> None:
        if self._connected:
            return
        with self._connecting:
            if self._begun:  # another thread was first; or this is a command that redis-py's constructor sends
                return
            self._begun = True
            try:
                super().__init__(startup_nodes=list(self._nodes().values()), **self._options)
                self._connected = True
            finally:
                self._begun = self._connected

    def _nodes(self) -> dict[str, ClusterNode]:
        nodes = [ClusterNode(host, port) for host, port in self._hosts]  # type: ignore[no-untyped-call]
        return {node.name: node for node in nodes}

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self._connect()
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisClusterException:
            # redis-py knows the nodes that were there last, and all of them may have moved.
            self.nodes_manager.startup_nodes = self._nodes() | self.nodes_manager.startup_nodes
            raise

    def pipeline(self, transaction: bool | None = None, shard_hint: Any = None) -> Any:
        self._connect()
        pipe: Any = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        pipe.get_node, pipe.get_redis_connection = self.get_node, self.get_redis_connection
        return pipe

    def register_script(self, script: str | bytes) -> Script:  # type: ignore[override]
        # As bytes: redis-py would ask the connection, which isn't there yet, how to encode it.
        return super().register_script(script.encode() if isinstance(script, str) else script)

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Parse answers with `callback`, in place of redis-py's parser and not after it."""
        self._callbacks[command] = callback

    def get_redis_connection(self, node: ClusterNode) -> redis.Redis:
        client = super().get_redis_connection(node)
        for command, callback in self._callbacks.items():
            client.set_response_callback(command, callback)
        return client

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Find a node, also one that has no slots: redis-py fails on what moves to a node that is new."""
        found = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if found or not node_name:
            return found
        address, _, own = node_name.rpartition(":")
        return ClusterNode(address, int(own))  # type: ignore[no-untyped-call]
