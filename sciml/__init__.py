"""Scientific machine learning in JAX: programs solved exactly in batches, learned by a network, and certified."""

from . import (
    core as core,
    losses as losses,
    metrics as metrics,
    nn as nn,
    plotting as plotting,
    programs as programs,
    simulation as simulation,
    solvers as solvers,
    sources as sources,
    storage as storage,
    systems as systems,
    training as training,
)
from .core import RESULTS as RESULTS, Solution as Solution, Trajectory as Trajectory
from .programs import describe as describe, Program as Program
from .simulation import rollout as rollout, simulate as simulate
from .solvers import solve as solve, solve_batch as solve_batch
from .storage import load as load, save as save
from .training import fit as fit
