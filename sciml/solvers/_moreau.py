"""The optional package Moreau: sparse quadratic programs, a batch at once on the host."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Scalar, ScalarLike

from ..core import RESULTS
from ..programs import Quadratic
from ._abstract import Point
from ._external import AbstractExternal, needed
from ._polish import AbstractPolish, NewtonPolish

_SUCCESS, _INFEASIBLE, _UNBOUNDED, _WORN_OUT, _OTHER = range(5)  # what the host reports


class Moreau(AbstractExternal):
    """Sparse interior-point and active-set methods of the optional package Moreau, for convex quadratic programs.

    Choose it for sparse programs that are too large for `InteriorPointQP`. Each call finds the entries that are zero in
    the whole batch and leaves them out of the factorisation. Under `vmap` and in `solve_batch`, the batch is one call.
    It always runs on the host in float64. The package solves quadratic programs of at most 500 variables by its dual
    active-set method.

    Args:
        tol: largest *unscaled* KKT residual of a success; default 1e-8 in float64 and 1e-4 in float32.
        steps: largest number of interior-point iterations.
        polish: improves an answer of the package that misses `tol`; None for no improvement.

    Raises:
        ImportError: if `moreau` is not installed. ValueError: if the program is not a `QuadraticProgram`.

    Gradient: by the `adjoint` of `solve`, never through the call.

    Source: the package `moreau` 0.4, which builds on Goulart & Chen (2024), Clarabel: an interior-point solver for
    conic programs with quadratic objectives, arXiv 2405.12762, and Arnström, Bemporad & Axehill (2022), A dual
    active-set solver for embedded quadratic programming using recursive LDLᵀ updates, DOI 10.1109/TAC.2022.3176430.
    """

    tol: ScalarLike | None = None
    steps: int = eqx.field(static=True, default=200)
    polish: AbstractPolish | None = NewtonPolish()

    @property
    def uses_start(self) -> bool:
        """False: the solver computes its own start and ignores `z0`."""
        return False

    def answer(self, data: Quadratic, limits: tuple[Array, Array], start: Point, tol: Scalar) -> tuple[Point, RESULTS]:
        """The answer of the package, from one call on the host."""
        needed("moreau", "Moreau()")
        shape = lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype)
        out = (shape(data.q), shape(data.h), shape(data.b), jax.ShapeDtypeStruct((), np.int32))
        entries = (data.Q, data.q, data.A, data.b, data.G, data.h, *limits)
        call = partial(_on_host, self.steps)
        x, ineq, eq, status = jax.pure_callback(call, out, tol, *entries, vmap_method="expand_dims")
        result = RESULTS.where(status == _SUCCESS, RESULTS.successful, RESULTS.stalled)
        limit = RESULTS.max_steps_reached
        result = RESULTS.where(status == _WORN_OUT, limit, result)  # pyright: ignore[reportArgumentType]
        result = RESULTS.where(status == _INFEASIBLE, RESULTS.infeasible, result)
        return Point(x, ineq, eq), RESULTS.where(status == _UNBOUNDED, RESULTS.unbounded, result)


def _on_host(steps: int, tol: Any, *entries: Any) -> tuple[np.ndarray, ...]:
    """The solutions of a batch; entries that it shares have leading axes of length one."""
    sizes = (2, 1, 2, 1, 2, 1, 1, 1)
    arrays = [np.asarray(entry) for entry in entries]
    dtype = arrays[0].dtype
    batch = np.broadcast_shapes(*(v.shape[: v.ndim - k] for v, k in zip(arrays, sizes, strict=True)))
    lanes = int(np.prod(batch))

    def flat(v: np.ndarray, k: int) -> np.ndarray:
        own = v.shape[v.ndim - k :]
        is_shared = v.size == np.prod(own)
        return (v if is_shared else np.broadcast_to(v, (*batch, *own))).reshape(1 if is_shared else lanes, *own)

    Q, q, A, b, G, h, lower, upper = (flat(v.astype(float), k) for v, k in zip(arrays, sizes, strict=True))
    fixed = np.all(np.isfinite(lower) & (lower == upper), axis=0)
    exists = [np.isfinite(h), np.isfinite(lower) & ~fixed, np.isfinite(upper) & ~fixed]
    kept = [np.flatnonzero(np.any(rows, axis=0)) for rows in exists]
    fixed = np.flatnonzero(fixed)
    # Equalities and fixed entries, then inequalities and bounds that exist in some instance at least.
    blocks = [
        _sparse(A), _unit(fixed, 1.0),
        _sparse(G[:, kept[0]]), _unit(kept[1], -1.0), _unit(kept[2], 1.0),
    ]  # fmt: skip
    right = [b, lower[:, fixed], h[:, kept[0]], -lower[:, kept[1]], upper[:, kept[2]]]
    there = [np.ones_like(v, bool) for v in right[:2]] + [rows[:, k] for rows, k in zip(exists, kept, strict=True)]
    x, dual, status = _solved(steps, float(np.min(tol)), lanes, _sparse(Q), q, blocks, right, there)
    ineq = np.zeros((lanes, h.shape[1]))
    start = b.shape[1] + fixed.size
    ineq[:, kept[0]] = dual[:, start : start + kept[0].size]
    out = (x, ineq, dual[:, : b.shape[1]])
    return (*(v.reshape(*batch, v.shape[1]).astype(dtype) for v in out), status.reshape(batch))


_Block = tuple[np.ndarray, np.ndarray, np.ndarray]  # numbers of entries by rows, columns, values


def _sparse(matrices: np.ndarray) -> _Block:
    """What is not zero in every instance."""
    rows, columns = np.nonzero(np.any(matrices != 0, axis=0))
    return np.bincount(rows, minlength=matrices.shape[1]), columns, matrices[:, rows, columns]


def _unit(columns: np.ndarray, value: float) -> _Block:
    """Rows with one entry each."""
    return np.ones_like(columns), columns, np.full((1, columns.size), value)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Side by side, as many rows as the longest has."""
    lanes = max(len(v) for v in parts)
    return np.concatenate([np.broadcast_to(v, (lanes, v.shape[1])) for v in parts], axis=1)


def _solved(
    steps: int, tol: float, lanes: int, quadratic: _Block, q: np.ndarray, blocks: list[_Block], right: list[np.ndarray],
    there: list[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Decisions, multipliers of all rows, and how each instance ended."""
    moreau = needed("moreau", "Moreau()")
    counts, columns = np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])
    exists = _joined(there)
    # Where a row exists in some instances only it is `0 <= 1` in the others.
    vectors, values = np.where(exists, _joined(right), 1.0), _joined([block[2] for block in blocks])
    if not np.all(exists):
        values = np.where(np.repeat(exists, counts, axis=1), values, 0.0)
    offsets = lambda counts: np.concatenate([[0], np.cumsum(counts)])
    equalities = right[0].shape[1] + right[1].shape[1]
    cones = moreau.Cones(num_zero_cones=equalities, num_nonneg_cones=counts.size - equalities)
    accuracy = moreau.IPMSettings(tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
    settings = moreau.Settings(batch_size=lanes, max_iter=steps, ipm_settings=accuracy)
    sizes = (q.shape[1], counts.size, offsets(quadratic[0]), quadratic[1], offsets(counts), columns)
    solver = moreau.CompiledSolver(*sizes, cones, settings)
    wide = lambda v: np.ascontiguousarray(np.broadcast_to(v, (lanes, v.shape[1])))
    # Both sets of values shared, or none.
    is_shared = len(quadratic[2]) == len(values) == 1
    solver.setup(*((quadratic[2][0], values[0]) if is_shared else (wide(quadratic[2]), wide(values))))
    found = solver.solve(wide(q), wide(vectors))
    names = moreau.SolverStatus
    meaning = {
        names.Solved: _SUCCESS, names.AlmostSolved: _SUCCESS, names.PrimalInfeasible: _INFEASIBLE,
        names.DualInfeasible: _UNBOUNDED, names.MaxIterations: _WORN_OUT, names.MaxTime: _WORN_OUT,
    }  # fmt: skip
    status = [meaning.get(one, _OTHER) for one in solver.info.status]
    return np.asarray(found.x), np.asarray(found.z), np.asarray(status, np.int32)
