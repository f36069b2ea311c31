"""The derivative of a solution: one linear system with the KKT matrix of the active set, for every solver.

At a solution the conditions `∇L(x, λ, ν; p) = 0`, `c_i(x; p) = 0` for active rows and `h(x; p) = 0` hold. Along a
change `dp` of the instance they go on to hold, so that the tangents of decision and multipliers solve

    [ H   C_aᵀ  Eᵀ ] [ dx ]       [ ∂∇L ]
    [ C_a  -D   0  ] [ dy ]  =  - [ ∂c_a ] dp
    [ E    0    0  ] [ dν ]       [ ∂h  ]

with `D = 0` for the exact derivative and `D = s / z` for a smoothed one. The matrix is symmetric: reverse mode solves
with the same factors (Fiacco 1983, Introduction to Sensitivity and Stability Analysis, theorem 2.4.4).
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Scalar, ScalarLike

from ..core import DampedInverse, invalid, where_needed, wrong_type
from ..programs import bound_multipliers, FlatProgram
from ._models import Model, model_at

_FLAT = 1e-3  # least curvature of an entry relative to the largest, when units are chosen
_MOST = 10  # solves of a refinement
_INVERSIONS = 3  # inverse iterations that estimate the condition number
_PROGRESS = 0.5  # by which corrections have to fall


class Conditions(eqx.Module):
    """The optimality conditions at a point: what `p` moves."""

    slope: Float[Array, " n"]
    """`∇f + Jgᵀλ + Jhᵀν`."""
    rows: Float[Array, " m"]
    """Inequalities, `lower - x` and `x - upper`; -1 in rows that do not exist."""
    eq: Float[Array, " h"]


def conditions(program: FlatProgram, x: Array, ineq: Array, eq: Array, p: Any) -> Conditions:
    """The optimality conditions of `program` at a primal-dual point."""
    (f, g, h), pull = jax.vjp(lambda x: program.functions(x, p), x)
    (slope,) = pull((jnp.ones_like(f), ineq, eq))
    if not program.is_bounded:
        return Conditions(slope, g, h)
    lower, upper = program.limits(p)
    below = jnp.where(jnp.isfinite(lower), jnp.where(jnp.isfinite(lower), lower, 0.0) - x, -1.0)
    above = jnp.where(jnp.isfinite(upper), x - jnp.where(jnp.isfinite(upper), upper, 0.0), -1.0)
    return Conditions(slope, jnp.concatenate([g, below, above]), h)


def row_multipliers(program: FlatProgram, x: Array, ineq: Array, slope: Array, p: Any) -> Float[Array, " m"]:
    """Multipliers of inequalities, lower and upper bounds; those of bounds explain the slope."""
    if not program.is_bounded:
        return ineq
    return jnp.concatenate([ineq, *bound_multipliers(x, slope, *program.limits(p))])


class KKTMatrix(eqx.Module):
    """The symmetric matrix of the linear system, applied and solved with."""

    model: Model
    active: Float[Array, " m"]
    """1 for rows that count, 0 for others."""
    softness: Float[Array, " m"]
    """`D`; 1 in rows that do not count."""
    sizes: tuple[int, int, int] = eqx.field(static=True)
    """Entries of the decision, rows, equalities."""

    def times(self, v: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The product of the matrix with `(dx, dy, dν)`."""
        dx, dy, deq = v
        model = self.model
        top = model.curvature(dx) + model.rows_transposed(self.active * dy) + model.equalities_transposed(deq)
        return top, self.active * model.rows(dx) - self.softness * dy, model.equalities(dx)

    def cut(self, v: Float[Array, " r"]) -> tuple[Array, Array, Array]:
        """The three parts `(dx, dy, dν)` of one vector."""
        x, rows, eq = jnp.split(v, np.cumsum(self.sizes)[:2])
        return x, rows, eq

    def solve(self, inverse: "AbstractInverse", right: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The solution of the linear system by an inverse, with the implicit derivative of the matrix."""
        times = lambda v: jnp.concatenate(self.times(self.cut(v)))
        again = lambda _, b: jnp.concatenate(inverse(self.cut(b)))
        return self.cut(jax.lax.custom_linear_solve(times, jnp.concatenate(right), again, symmetric=True))


class AbstractInverse(eqx.Module):
    """A factored KKT matrix."""

    @property
    @abstractmethod
    def witness(self) -> Scalar:
        """A number that is not negative, and cannot be known before the matrix is factored."""

    @abstractmethod
    def __call__(self, right: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The solution for `right`."""


class _Scale(eqx.Module):
    """`S` of the scaled system `S K S v̂ = S r` with `v = S v̂`, by which regularisation and residuals are measured.

    It makes the Hessian's diagonal and the rows' norms about one. Entries with little or no curvature of their own (a
    state without cost, a slack) count with a thousandth of the largest.
    """

    parts: tuple[Array, Array, Array]

    def norm(self, right: tuple[Array, Array, Array]) -> Scalar:
        """The norm of `S r`."""
        return jnp.sqrt(sum(jnp.sum((s * r) ** 2) for s, r in zip(self.parts, right, strict=True)))

    def norm_of_solution(self, v: tuple[Array, Array, Array]) -> Scalar:
        """The norm of `v̂`."""
        return jnp.sqrt(sum(jnp.sum((v / s) ** 2) for s, v in zip(self.parts, v, strict=True)))


def _scale(model: Model) -> _Scale:
    curvature = jnp.abs(model.diagonal())
    least = _FLAT * jnp.max(curvature, initial=0.0)
    curvature = jnp.where(least > 0, jnp.maximum(curvature, least), 1.0)
    root = lambda v: 1.0 / jnp.sqrt(jnp.where(v > 0, v, 1.0))
    rows, eq = model.squares(1.0 / curvature)
    return _Scale((root(curvature), root(rows), root(eq)))


class _Factored(AbstractInverse):
    """A regularised factorisation of a KKT matrix, for iterated refinement."""

    matrix: KKTMatrix
    factors: Any
    divisor: Float[Array, " m"]
    scale: _Scale

    @property
    def witness(self) -> Scalar:
        """That of the factors."""
        return self.factors.witness

    def inverted(self) -> "_Factored":
        """The same with factors whose solves are products.

        A second derivative solves several times, in no order, and LAPACK's solves for a batch must not run side by side
        (decision 2). Refinement makes up for what an inverse loses against substitution.
        """
        return _Factored(self.matrix, self.factors.inverted(), self.divisor, self.scale)

    def __call__(self, right: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The solution for `right`, refined against the unregularised matrix as long as that helps."""
        good = self.factors.is_definite
        right = jax.tree.map(lambda r: jnp.where(good, r, 0.0), right)
        small = jnp.finfo(right[0].dtype).eps ** (2 / 3)

        def again(carry: Any) -> Any:
            v, last, count, _ = carry
            rest = jax.tree.map(jnp.subtract, right, self.matrix.times(v))
            step = self._once(rest)
            size = self.scale.norm_of_solution(step)
            # One that does not fall lies where the matrix is singular: what else is in it is taken, and that is all.
            v = jax.tree.map(lambda v, dv: jnp.where(size <= 2 * last, v + dv, v), v, step)
            # Corrections fall geometrically: the next one would be `size² / last`, which is the error that is left.
            more = size * size > small * last * self.scale.norm_of_solution(v)
            return v, size, count + 1, (size < _PROGRESS * last) & more

        first = self._once(right)
        last = self.scale.norm_of_solution(first)
        going = lambda carry: carry[3] & (carry[2] < _MOST)
        v, *_ = jax.lax.while_loop(going, again, (first, last, jnp.asarray(1), last > 0))
        finite = jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in v]))
        return jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0.0), v)

    def _once(self, right: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        # dy = (a C dx - r_y) / (D + δ), so (H + Cᵀ diag(a / (D + δ)) C) dx + Eᵀdν = r_x + Cᵀ (a r_y / (D + δ)).
        r_x, r_y, r_eq = right
        model, active = self.matrix.model, self.matrix.active
        dx, deq = model.solve(self.factors, r_x + model.rows_transposed(active * r_y / self.divisor), r_eq)
        return dx, (active * model.rows(dx) - r_y) / self.divisor, deq


def factorise(matrix: KKTMatrix) -> _Factored:
    """Factors of the matrix with its diagonal blocks regularised, each entry in its own units.

    Regularising `S K S` by `ρ` and `δ` is regularising `K` by `ρ / S²` and `δ / S²`, and scaling by a diagonal does not
    change the rounding errors of a Cholesky factorisation; so the matrix itself is left as it is.
    """
    dtype = matrix.active.dtype
    rho, more, delta = (1e-12, 1e-8, 1e-9) if dtype == jnp.float64 else (1e-7, 1e-5, 1e-4)
    scale = _scale(matrix.model)
    x, rows, eq = (1.0 / s**2 for s in scale.parts)
    divisor = matrix.softness + delta * rows * matrix.active
    attempt = lambda rho: matrix.model.factorise(matrix.active / divisor, rho * x, delta * eq)
    # So little that a Hessian with a condition number of 1e11 is solved with exactly. Where the matrix is singular,
    # rounding may leave that without a factor: then once more.
    factors = attempt(jnp.asarray(rho, dtype))
    factors = where_needed(~factors.is_definite, lambda: attempt(jnp.asarray(more, dtype)), factors)
    return _Factored(matrix, factors, divisor, scale)


class AbstractSensitivity(eqx.Module):
    """The linearisation of the optimality conditions at a solution, for `KKTAdjoint`."""

    @abstractmethod
    def rows(self, values: Float[Array, " m"], multipliers: Float[Array, " m"]) -> tuple[Array, Array]:
        """`active` and `softness` of the rows with these values (`<= 0`) and multipliers (`>= 0`)."""

    @abstractmethod
    def inverse(self, matrix: KKTMatrix) -> AbstractInverse:
        """The factored inverse of the KKT matrix. It makes all LAPACK calls; solves are products."""


class ActiveSet(AbstractSensitivity):
    """The exact derivative: rows whose multiplier exceeds their distance are treated as equations; the default.

    It is exact if every active row has a positive multiplier. Otherwise it is one-sided, but always finite; see
    `derivative_health`.
    """

    def rows(self, values: Float[Array, " m"], multipliers: Float[Array, " m"]) -> tuple[Array, Array]:
        """`active` is one for active rows and zero for the others; `softness` is its complement."""
        active = jnp.where(multipliers >= -values, 1.0, 0.0).astype(values.dtype)
        return active, 1.0 - active

    def inverse(self, matrix: KKTMatrix) -> AbstractInverse:
        """The inverse by Cholesky factorisation of the condensed matrix, with iterative refinement."""
        return factorise(matrix).inverted()


class Smoothed(AbstractSensitivity):
    """A derivative that is smooth across changes of the active set, as if the barrier parameter had stopped at `mu`.

    Choose it to learn through programs whose active set changes: it sees constraints before they become active. The
    distance `s` and multiplier `z` of a row are replaced by those of the central path with the same `z - s`,
    `√(((z - s) / 2)² + μ) ± (z - s) / 2`; their ratio is the weight of the row. The bias is of the order of `√μ` near a
    change and of `μ` elsewhere. The solution itself is not smoothed.

    Args:
        mu: the barrier parameter, positive, in units of the objective; already 1e-3 causes an error of several per
            cent.

    Raises:
        ValueError: if `mu` is a number that is not positive.

    Source: Chen & Harker (1993), A non-interior-point continuation method for linear complementarity problems, DOI
    10.1137/0614081, for the smoothing.
    """

    mu: ScalarLike

    def __check_init__(self):
        if isinstance(self.mu, (int, float)) and not self.mu > 0:
            raise invalid("mu", self.mu, "a positive barrier parameter", "take 1e-3, or `ActiveSet()` for none")

    def rows(self, values: Float[Array, " m"], multipliers: Float[Array, " m"]) -> tuple[Array, Array]:
        """All rows, weighted by the ratio of distance and multiplier on the central path."""
        half = 0.5 * (multipliers + values)
        root = jnp.sqrt(half**2 + jnp.asarray(self.mu, values.dtype))
        # The smaller of the two without cancellation: root - |half| = μ / (root + |half|).
        small, large = jnp.asarray(self.mu, values.dtype) / (root + jnp.abs(half)), root + jnp.abs(half)
        slack, dual = jnp.where(half > 0, small, large), jnp.where(half > 0, large, small)
        return jnp.ones_like(values), slack / dual

    def inverse(self, matrix: KKTMatrix) -> AbstractInverse:
        """The inverse by Cholesky factorisation of the condensed matrix, with iterative refinement."""
        return factorise(matrix).inverted()


class LeastNorm(AbstractSensitivity):
    """The least-norm derivative, for solutions with linearly dependent active constraints.

    If the linear system is regular, this is the exact derivative, at several times the cost. If it is singular,
    `ActiveSet` gives one of many solutions, and this one the shortest.
    """

    def rows(self, values: Float[Array, " m"], multipliers: Float[Array, " m"]) -> tuple[Array, Array]:
        """`active` is one for active rows and zero for the others; `softness` is its complement."""
        return ActiveSet().rows(values, multipliers)

    def inverse(self, matrix: KKTMatrix) -> AbstractInverse:
        """The inverse by damped normal equations of the whole matrix, with iterative refinement."""
        eye = jnp.eye(sum(matrix.sizes), dtype=matrix.active.dtype)
        dense = jax.vmap(lambda v: jnp.concatenate(matrix.times(matrix.cut(v))))(eye)
        return _LeastSquares(matrix, DampedInverse(dense))


class _LeastSquares(AbstractInverse):
    matrix: KKTMatrix
    damped: DampedInverse

    @property
    def witness(self) -> Scalar:
        """The last entry of its factor's diagonal."""
        return self.damped.half[-1, -1]

    def __call__(self, right: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """The shortest of the solutions that are nearest to one."""
        return self.matrix.cut(self.damped(jnp.concatenate(right)))


def linear_system(
    program: FlatProgram, sensitivity: AbstractSensitivity, root: Float[Array, " r"], p: Any, ok: Bool[Array, ""]
) -> tuple[KKTMatrix, Float[Array, " m"], Float[Array, " m"]]:
    """The KKT matrix at `[x, λ, ν]`, and the rows' values and multipliers; finite for an instance that failed."""
    x, ineq, eq = jnp.split(root, [program.size, program.size + program.n_ineq])
    at = conditions(program, x, ineq, eq, p)
    multipliers = row_multipliers(program, x, ineq, at.slope, p)
    counts = ok & _exists(program, p)
    active, softness = jax.lax.stop_gradient(sensitivity.rows(at.rows, multipliers))
    model = model_at(program, x, ineq, eq, p)
    # Entry by entry, not lane by lane: matrices that a batch shares stay shared. A failed instance has no active rows,
    # and what is computed with its Hessian is not used.
    safe = jax.tree.map(lambda v: jnp.where(jnp.isfinite(v), v, jnp.zeros_like(v)), model)
    none = jnp.zeros_like(active)
    return (
        KKTMatrix(
            safe,
            jnp.where(counts, active, none),
            jnp.where(counts, softness, none + 1.0),
            (program.size, none.size, program.n_eq),
        ),
        at.rows,
        multipliers,
    )


def _exists(program: FlatProgram, p: Any) -> Bool[Array, " m"]:
    """Rows with a limit: finite bounds, and inequalities that a `QuadraticProgram` has not switched off."""
    ineq = jnp.ones(program.n_ineq, bool) if program.quadratic is None else jnp.isfinite(program.quadratic(p).h)
    if not program.is_bounded:
        return ineq
    lower, upper = program.limits(p)
    return jnp.concatenate([ineq, jnp.isfinite(lower), jnp.isfinite(upper)])


def tangent(
    program: FlatProgram,
    sensitivity: AbstractSensitivity,
    root: Float[Array, " r"],
    p: Any,
    moved: Conditions,
    ok: Bool[Array, ""],
) -> tuple[Float[Array, " r"], Scalar]:
    """The tangent of `[x, λ, ν]` where the conditions move by `moved`, and the witness of the matrix's inverse.

    The tangent is zero for an instance that failed.
    """
    matrix, *_ = linear_system(program, sensitivity, root, p, ok)
    zero = lambda v: jnp.where(ok, v, jnp.zeros_like(v))
    right = (-zero(moved.slope), -matrix.active * zero(moved.rows), -zero(moved.eq))
    inverse = sensitivity.inverse(jax.lax.stop_gradient(matrix))
    dx, dy, deq = matrix.solve(inverse, right)
    return zero(jnp.concatenate([dx, dy[: program.n_ineq], deq])), inverse.witness


def check_sensitivity(sensitivity: Any) -> None:
    """Raises where it is none."""
    if not isinstance(sensitivity, AbstractSensitivity):
        fix = "pass an instance: `ActiveSet()`, `Smoothed(1e-3)` or `LeastNorm()`"
        raise wrong_type("sensitivity", repr(sensitivity), "an `AbstractSensitivity`", fix)


class Health(eqx.Module):
    """How far the derivative of a solution can be trusted; one value per instance."""

    margin: Scalar
    """Strict complementarity: the smallest `|multiplier - distance|` over all inequalities and bounds. Near zero (where
    a solver knows it to the square root of its tolerance) the active set is about to change and derivatives of the two
    sides differ."""
    pivot: Scalar
    """The smallest pivot of the condensed, regularised KKT matrix; zero if it is not positive definite."""
    residual: Scalar
    """Relative residual of the linear system of the derivative, in units in which the Hessian's diagonal and the rows
    are of size one, for a solution of ones."""
    error: Scalar
    """The relative error to be expected of the derivative: that of a known solution, or what the condition number of
    the system makes of rounding in its matrices, whichever is larger. Of the order of one where the system is singular;
    infinite for an instance that failed."""


def health_at(
    program: FlatProgram, sensitivity: AbstractSensitivity, root: Float[Array, " r"], p: Any, ok: Bool[Array, ""]
) -> Health:
    """The health of the derivative at `[x, λ, ν]`."""
    matrix, values, multipliers = linear_system(program, sensitivity, root, p, ok)
    gaps = jnp.where(_exists(program, p), jnp.abs(multipliers + values), jnp.inf)
    if program.is_bounded:
        lower, upper = program.limits(p)
        # A fixed entry is always active, whatever the multiplier.
        fixed = jnp.concatenate([jnp.zeros(program.n_ineq, bool), jnp.tile(lower == upper, 2)])
        gaps = jnp.where(fixed, jnp.inf, gaps)
    margin = jnp.min(gaps, initial=jnp.inf)
    factored = factorise(matrix)
    residual, error = (jnp.where(ok, v, jnp.inf) for v in _tried(factored))
    return Health(jnp.where(ok, margin, 0.0), jnp.where(ok, factored.factors.pivot, 0.0), residual, error)


def _tried(factored: _Factored) -> tuple[Scalar, Scalar]:
    """The residual of a system whose solution is known, and the error to be expected of others."""
    matrix, scale = factored.matrix, factored.scale
    x, rows, eq = scale.parts
    known = (x, rows * matrix.active, eq)
    # A right-hand side that has a solution even where the matrix is singular.
    right = matrix.times(known)
    found = factored(right)
    left = scale.norm(jax.tree.map(jnp.subtract, right, matrix.times(found)))
    wrong = scale.norm_of_solution(jax.tree.map(jnp.subtract, found, known))

    def inverse(_: Any, carry: Any) -> Any:
        # Inverse iteration on S K S: its growth tends to the reciprocal of the smallest singular value.
        (dx, dy, deq), _ = carry
        direction = (dx / x**2, matrix.active * dy / rows**2, deq / eq**2)
        before = scale.norm(direction)
        found = factored(jax.tree.map(lambda r: r / jnp.where(before > 0, before, 1.0), direction))
        return found, scale.norm_of_solution(found)

    _, growth = jax.lax.fori_loop(0, _INVERSIONS, inverse, (found, jnp.zeros_like(left)))
    size = scale.norm_of_solution(known)
    rounding = jnp.finfo(left.dtype).eps * growth * scale.norm(right) / size
    error = jnp.where(factored.factors.is_definite, jnp.maximum(wrong / size, rounding), 1.0)
    return left / jnp.where(left > 0, scale.norm(right), 1.0), error
