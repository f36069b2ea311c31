"""What every solver of a `QuadraticProgram` needs before its loop: the reduced program, and what rules it out."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ..core import invalid, RESULTS
from ..programs import FlatProgram, Quadratic
from ._presolve import presolve, Recovery, Reduced, Units


class QPConstants(eqx.Module):
    """The reduced program, the way back, and what rules an instance out from the start."""

    reduced: Reduced
    units: Units
    recovery: Recovery | None
    """None where nothing was reduced: a subproblem of another solver."""
    contradictory: Bool[Array, ""]
    finite: Bool[Array, ""]
    inconsistent: Bool[Array, ""]
    """Whether the equalities have no solution."""

    def verdict(self) -> tuple[Bool[Array, ""], RESULTS]:
        """Whether the instance is ruled out, and why."""
        result = RESULTS.where(self.inconsistent, RESULTS.infeasible, RESULTS.successful)
        result = RESULTS.where(self.contradictory, RESULTS.contradictory_bounds, result)
        result = RESULTS.where(self.finite, result, RESULTS.nonfinite_start)
        return ~self.finite | self.contradictory | self.inconsistent, result


def qp_constants(program: FlatProgram, p: Any, rounds: int) -> QPConstants:
    """The scaled and reduced program.

    Args:
        program: over vectors.
        p: the instance.
        rounds: of equilibration.

    Raises:
        ValueError: if the program is not given by its matrices.
    """
    data, limits = quadratic_data(program, p)
    reduced, recovery, units = presolve(
        data, limits, rank=program.rank, is_bounded=program.is_bounded, rounds=rounds
    )  # fmt: skip
    defect = data.A @ recovery.decision(jnp.zeros_like(reduced.c)) - data.b
    level = 1e3 * jnp.finfo(data.q.dtype).eps ** 0.75 * (1.0 + jnp.max(jnp.abs(data.b), initial=0.0))
    eliminated = recovery.inverse is not None
    inconsistent = jnp.any(jnp.abs(defect) > level) if eliminated else jnp.asarray(False)
    contradictory, finite = ruled_out(data, limits)
    return QPConstants(reduced, units, recovery, contradictory, finite, inconsistent)


def quadratic_data(program: FlatProgram, p: Any) -> tuple[Quadratic, tuple[Array, Array]]:
    """Matrices, vectors and bounds of the instance `p`.

    Raises:
        ValueError: if the program is not given by its matrices.
    """
    if program.quadratic is None:
        fix = "state the matrices in a `QuadraticProgram`, or use `InteriorPoint`"
        raise invalid("program", "a program of functions", "a `QuadraticProgram`", fix)
    return program.quadratic(p), program.limits(p)


def ruled_out(data: Quadratic, limits: tuple[Array, Array]) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether bounds contradict each other, and whether all data are finite that have to be."""
    # A row that asks for less than -infinity is a contradiction, one that allows +infinity does not exist.
    contradictory = jnp.any(~(limits[0] <= limits[1])) | jnp.any(data.h == -jnp.inf)
    parts = [data.Q.ravel(), data.q, data.A.ravel(), data.b, data.G.ravel()]
    finite = jnp.all(jnp.asarray([jnp.all(jnp.isfinite(part)) for part in parts]))
    return contradictory, finite & ~jnp.any(jnp.isnan(data.h))
