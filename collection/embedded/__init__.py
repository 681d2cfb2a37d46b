"""A Redis with TimeSeries for a machine that has none: run in a folder, for the folder's owner alone."""

from collection.embedded.binaries import find_server
from collection.embedded.server import EmbeddedRedis
from collection.embedded.state import RunningRedis, find_running, running
from collection.embedded.trial import Binary

__all__ = ["Binary", "EmbeddedRedis", "RunningRedis", "find_running", "find_server", "running"]
