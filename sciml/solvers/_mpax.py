"""The optional package MPAX: first-order methods for linear and quadratic programs."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Scalar, ScalarLike

from ..core import invalid, RESULTS
from ..programs import Quadratic
from ._abstract import Point
from ._external import AbstractExternal, needed
from ._polish import AbstractPolish, NewtonPolish


class MPAX(AbstractExternal):
    """Primal-dual hybrid gradients of the optional package MPAX, for large linear and convex quadratic programs.

    Choose it where the factorisations of `InteriorPointQP` do not fit into memory. An iteration is two products with
    the constraint matrices, on any device. It needs thousands of iterations, and many more if a program is badly
    conditioned; `polish` gives the last digits. Matrices are dense, and a batch holds them once per instance.

    Args:
        tol: largest *unscaled* KKT residual of a success; default 1e-8 in float64 and 1e-4 in float32.
        loops: largest number of rounds of 64 iterations. An infeasible quadratic program takes all of them, because the
            package finds certificates of infeasibility for linear programs only.
        accuracy: absolute and relative tolerance of the package; default `tol / 20`. With a `polish` that can handle
            the program, 1e-5 suffices.
        polish: improves an answer of the package that misses `tol`; None for no improvement.

    Raises:
        ImportError: if `mpax` is not installed.
        ValueError: if the program is not a `QuadraticProgram`, or has neither `A` nor `G`.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Lu, Peng & Yang (2024), MPAX: mathematical programming in JAX, arXiv 2412.09734; Lu & Yang (2023), A
    practical and optimal first-order method for large-scale convex quadratic programming, arXiv 2311.07710.
    """

    tol: ScalarLike | None = None
    loops: int = eqx.field(static=True, default=2000)
    accuracy: ScalarLike | None = None
    polish: AbstractPolish | None = NewtonPolish()

    def answer(self, data: Quadratic, limits: tuple[Array, Array], start: Point, tol: Scalar) -> tuple[Point, RESULTS]:
        """The answer by raPDHG. MPAX expects `G x >= h`; its Lagrangian is `f - yᵀ(K x - k)`."""
        mpax = needed("mpax", "MPAX()")
        if data.b.size + data.h.size == 0:
            fix = "use `BoxNewton`, or `InteriorPointQP`"
            raise invalid("program", "neither `A` nor `G`", "at least one row, which MPAX needs", fix)
        dtype = data.q.dtype
        # The package makes its constants in JAX's default precision.
        data, limits, start, tol = jax.tree.map(lambda v: v.astype(jnp.zeros(()).dtype), (data, limits, start, tol))
        exists = jnp.isfinite(data.h)
        # Rows that do not exist are 0 >= 0.
        G, h = jnp.where(exists[:, None], data.G, 0.0), jnp.where(exists, data.h, 0.0)
        accuracy = tol if self.accuracy is None else jnp.asarray(self.accuracy, tol.dtype)
        with jax.numpy_dtype_promotion("standard"):
            rows = (data.A, data.b, -G, -h)
            program = mpax.create_lp(data.q, *rows, *limits, use_sparse_matrix=False)
            program = replace(program, objective_matrix=data.Q, is_lp=data.is_linear)
            method = mpax.raPDHG(
                eps_abs=accuracy, eps_rel=accuracy, iteration_limit=self.loops * 64, warm_start=True
            )  # fmt: skip
            found = method.optimize(program, start.x, jnp.concatenate([-start.eq, start.ineq]))
        eq, ineq = jnp.split(found.dual_solution, [data.b.size])
        is_ = lambda status: found.termination_status == status
        status = mpax.utils.TerminationStatus
        limit = RESULTS.max_steps_reached
        result = RESULTS.where(is_(status.OPTIMAL), RESULTS.successful, limit)  # pyright: ignore[reportArgumentType]
        result = RESULTS.where(is_(status.NUMERICAL_ERROR), RESULTS.stalled, result)
        result = RESULTS.where(is_(status.PRIMAL_INFEASIBLE), RESULTS.infeasible, result)
        result = RESULTS.where(is_(status.DUAL_INFEASIBLE), RESULTS.unbounded, result)
        return Point(found.primal_solution.astype(dtype), ineq.astype(dtype), -eq.astype(dtype)), result
