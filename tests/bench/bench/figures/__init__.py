"""The figures: one module for each group that is measured together, in the order in which they are played."""
from bench.figures.calls import Calls
from bench.figures.commands import Commands
from bench.figures.highest import Highest
from bench.figures.latency import Latency
from bench.figures.memory import Memory
from bench.figures.repeats import Repeats
from bench.figures.size import Size
from bench.figures.start import Start
from bench.figures.storm import Storm

SESSIONS = [Start, Commands, Calls, Latency, Highest, Repeats, Storm, Memory, Size]
