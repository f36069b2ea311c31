"""The protocol that every solver follows, and the counters that it reports."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int

from ..core import RESULTS
from ..programs import FlatProgram, Residual


class SolveStats(eqx.Module):
    """How a solve went, one value per instance. Carries no derivatives."""

    steps: Int[Array, "*batch"]
    """Iterations, each with at most one factorisation of the Newton matrix per trial regularisation."""
    residual: Residual
    """The unscaled KKT residual of the answer, evaluated once more from the program after the loop."""
    barrier: Float[Array, "*batch"]
    """The last barrier parameter (in the scaled objective's unit); complementarity is of this order."""
    restorations: Int[Array, "*batch"]
    """How often the solver had to leave the objective aside to regain feasibility."""
    has_derivative: Bool[Array, "*batch"]
    """Whether derivatives of this instance are those of a solution; a failed instance has zero derivatives."""


class Point(eqx.Module):
    """A primal-dual point over vectors, unscaled: what a solver hands back and what the derivative is taken at."""

    x: Float[Array, "*batch n"]
    ineq: Float[Array, "*batch g"]
    eq: Float[Array, "*batch h"]


class AbstractSolver(eqx.Module):
    """Strategies and tolerances, never the problem. One instance at a time; `vmap` makes the batch.

    `solve` calls `prepare` once, outside the loop (what it returns stays unbatched where it does not depend on the
    instance), then `init`, then `step` until `done`, then `finish`. A state holds arrays only.
    """

    @property
    def uses_start(self) -> bool:
        """Whether `init` looks at the decision that it is given."""
        return True

    def suited(self, program: FlatProgram) -> FlatProgram:
        """The program with this solver's choice of how recursions over its stages are run; as it is by default."""
        return program

    @abstractmethod
    def prepare(self, program: FlatProgram, p: Any) -> Any:
        """What the loop needs and does not change: bounds, shared factorisations."""

    @abstractmethod
    def init(self, program: FlatProgram, constants: Any, x0: Float[Array, " n"], p: Any, warm: Any) -> Any:
        """The first state; `warm` is the `state` of an earlier solution, or None."""

    @abstractmethod
    def step(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> Any:
        """The next state."""

    @abstractmethod
    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether to stop, in success or in failure."""

    @abstractmethod
    def finish(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Point, RESULTS, Any]:
        """The unscaled primal-dual point, the outcome as the solver sees it, and (barrier, restorations)."""
