"""A simulated exchange that speaks a real one's protocol: for demos, and as the judge of what was collected."""

from collection.simulator.faults import FAULTS, parse_faults
from collection.simulator.protocols import PROTOCOLS
from collection.simulator.server import Simulator, serve

__all__ = ["FAULTS", "PROTOCOLS", "Simulator", "parse_faults", "serve"]
