"""Scientific machine learning in JAX: programs solved exactly in batches, learned by a network, and certified."""

from . import core as core, programs as programs, solvers as solvers
from .core import RESULTS as RESULTS, Solution as Solution, Trajectory as Trajectory
from .programs import describe as describe, Program as Program
from .solvers import solve as solve, solve_batch as solve_batch
