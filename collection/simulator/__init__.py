"""A simulated exchange that speaks Binance spot's protocol: for demos, and as the judge of what was collected."""

from collection.simulator.faults import FAULTS, parse_faults
from collection.simulator.server import Simulator, serve

__all__ = ["FAULTS", "Simulator", "parse_faults", "serve"]
