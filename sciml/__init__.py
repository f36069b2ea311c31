"""Scientific machine learning in JAX: solve programs exactly in batches, learn them, certify the result."""

from typing import TYPE_CHECKING

from ._lazy import attributes

if TYPE_CHECKING:
    from . import (
        core as core,
        losses as losses,
        metrics as metrics,
        nn as nn,
        plotting as plotting,
        policies as policies,
        programs as programs,
        simulation as simulation,
        solvers as solvers,
        sources as sources,
        storage as storage,
        systems as systems,
        training as training,
    )
    from .core import RESULTS as RESULTS, Solution as Solution, Trajectory as Trajectory
    from .programs import describe as describe, Program as Program, QuadraticProgram as QuadraticProgram
    from .simulation import rollout as rollout, simulate as simulate
    from .solvers import solve as solve, solve_batch as solve_batch
    from .storage import load as load, save as save
    from .training import fit as fit

# The same names once more, with the folder that each comes from: a test compares the two lists.
__getattr__, __dir__ = attributes(
    __name__,
    {
        "core": "core",
        "losses": "losses",
        "metrics": "metrics",
        "nn": "nn",
        "plotting": "plotting",
        "policies": "policies",
        "programs": "programs",
        "simulation": "simulation",
        "solvers": "solvers",
        "sources": "sources",
        "storage": "storage",
        "systems": "systems",
        "training": "training",
        "RESULTS": "core",
        "Solution": "core",
        "Trajectory": "core",
        "describe": "programs",
        "Program": "programs",
        "QuadraticProgram": "programs",
        "rollout": "simulation",
        "simulate": "simulation",
        "solve": "solvers",
        "solve_batch": "solvers",
        "load": "storage",
        "save": "storage",
        "fit": "training",
    },
)
