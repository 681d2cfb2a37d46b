"""A Redis with TimeSeries for a machine that has none: run in a folder, for the folder's owner alone."""

from .binaries import find_server
from .server import EmbeddedRedis
from .state import RunningRedis, find_running, running
from .trial import Binary

__all__ = ["Binary", "EmbeddedRedis", "RunningRedis", "find_running", "find_server", "running"]
