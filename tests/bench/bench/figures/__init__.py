"""The figures: one module for each group that is measured together, in the order in which they are played."""
from bench.figures.calls import Calls
from bench.figures.commands import Commands
from bench.figures.latency import Latency

SESSIONS = [Commands, Calls, Latency]
