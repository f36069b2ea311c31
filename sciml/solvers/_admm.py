"""Operator splitting for convex quadratic programs, with one factorisation for a whole batch."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import RESULTS, tree_where
from ..programs import FlatProgram
from ._abstract import AbstractSolver, Point
from ._qp_constants import qp_constants, QPConstants
from ._splitting import At, equality_multipliers, evaluate, iterate, point, polish, split, Splitting

_PATIENCE = 60  # passes in which the residual must improve by a tenth
_ADAPT = 3.0  # change of the penalty that is worth making
_FIRST_POLISH = 4  # passes before the active set is tried for the first time; then after twice as many each time
_FAST = 0.1  # decrease of the residual in a pass that promises the end
_SOON = 4  # passes that are cheaper than a polish
_ATTEMPTS = 3  # active sets tried in a row, each corrected by the signs that the last one gave


class ADMMConstants(eqx.Module):
    """The split program, and what rules the instance out from the start."""

    qp: QPConstants
    split: Splitting
    rho: Scalar
    """The first penalty."""
    is_convex: Bool[Array, ""]


class ADMMState(eqx.Module):
    """One iterate, and the memory of the strategy."""

    at: At
    y: Float[Array, " r"]
    z: Float[Array, " r"]
    """`W x`, projected onto its limits."""
    eta: Float[Array, " k"]
    rho: Scalar
    active: Float[Array, " r"]
    passes: Int[Array, ""]
    best: Scalar
    """The smallest residual so far, up to a tenth."""
    age: Int[Array, ""]
    """Passes since then."""
    stopped: Bool[Array, ""]
    result: RESULTS


class ADMM(AbstractSolver):
    """OSQP's operator splitting (ADMM) for a convex `QuadraticProgram`, with one factorisation for a whole batch.

    Choose it for batches that share the matrices `Q`, `A`, `G` and differ in `q`, `b`, `h` and bounds only. It
    eliminates the equalities and computes one eigendecomposition for the whole batch. An iteration is then two products
    with shared matrices, although each instance adapts its penalty. If matrices differ between instances, or programs
    are badly conditioned, choose `InteriorPointQP`. A nonconvex `Q` ends as `stalled`.

    Args:
        tol: largest *unscaled* KKT residual of a success; default 1e-9 in float64 and 1e-5 in float32.
        stall_tol: tolerance that still counts as a success where progress stops; default `10 tol`.
        relaxation: over-relaxation, between 0 and 2.
        penalty: initial penalty `ρ`, which adapts to each instance; by default it balances curvature and rows.
        iterations: number of splitting iterations per step, between two evaluations of the residual.
        certainty: relative tolerance of certificates of infeasibility and unboundedness; default 1e-6
            in float64 and 1e-4 in float32.
        equilibrations: number of rounds of row and column scaling.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Stellato, Banjac, Goulart, Bemporad & Boyd (2020), OSQP: an operator splitting solver for quadratic
    programs, DOI 10.1007/s12532-020-00179-2. Deviations: equalities are eliminated; generalised eigenvalues instead of
    a factorisation, so that the penalty may change freely; the loop repeatedly solves for the active set.

    Examples:
        ```python
        shares = sciml.QuadraticProgram(jnp.eye(2), lambda p: -p, A=jnp.ones((1, 2)), b=jnp.ones(1), lower=0.0)
        solve = lambda p: sciml.solve(shares, sciml.solvers.ADMM(), jnp.zeros(2), p, throw=False)
        solutions = jax.jit(jax.vmap(solve))(jnp.array([[0.5, 0.1], [3.0, 0.0]]))
        assert jnp.allclose(solutions.value, jnp.array([[0.7, 0.3], [1.0, 0.0]]), atol=1e-4)
        ```
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    relaxation: ScalarLike = 1.6
    penalty: ScalarLike | None = None
    iterations: int = eqx.field(static=True, default=20)
    certainty: ScalarLike | None = None
    equilibrations: int = eqx.field(static=True, default=8)

    @property
    def uses_start(self) -> bool:
        """False: the solver computes its own start and ignores `z0`."""
        return False

    def prepare(self, program: FlatProgram, p: Any) -> ADMMConstants:
        """Scales, reduces and diagonalises the program."""
        constants = qp_constants(program, p, self.equilibrations)
        qp = constants.reduced
        parts = split(qp, constants.units)
        dtype = qp.c.dtype
        defect = (parts.E @ parts.offset - parts.e) / constants.units.eq if parts.e.size else parts.e
        b = parts.e / constants.units.eq if parts.e.size else parts.e
        level = 1e3 * jnp.finfo(dtype).eps ** 0.75 * (1.0 + jnp.max(jnp.abs(b), initial=0.0))
        inconsistent = constants.inconsistent | jnp.any(jnp.abs(defect) > level)
        constants = eqx.tree_at(lambda c: c.inconsistent, constants, inconsistent)
        rounding = 1e2 * jnp.finfo(dtype).eps ** 0.75
        is_convex = jnp.all(parts.curvature >= -rounding)
        rho = _balanced(parts) if self.penalty is None else jnp.asarray(self.penalty, dtype)
        return ADMMConstants(constants, parts, rho, is_convex)

    def init(self, program: FlatProgram, constants: ADMMConstants, x0: Array, p: Any, warm: Any) -> ADMMState:
        """The origin, or the iterate of `warm`; `x0` is not used."""
        parts = constants.split
        if warm is None:
            x, y, rho = parts.offset, jnp.zeros_like(parts.lower), constants.rho
        else:
            x, y, rho = warm.at.x, warm.y, warm.rho
            # Multipliers of limits that no longer exist.
            y = jnp.where(jnp.isfinite(jnp.where(y > 0, parts.upper, parts.lower)), y, 0.0)
        eta = parts.dual_basis @ (x - parts.offset)
        at = evaluate(parts, point(parts, eta), y)
        stopped, result = constants.qp.verdict()
        result = RESULTS.where(~stopped & ~constants.is_convex, RESULTS.stalled, result)
        stopped = stopped | ~constants.is_convex
        z = jnp.clip(at.along, parts.lower, parts.upper)
        zero, none = jnp.asarray(0), jnp.zeros_like(y)
        rho = jnp.asarray(rho, y.dtype)
        return ADMMState(at, y, z, eta, rho, none, zero, jnp.full((), jnp.inf, y.dtype), zero, stopped, result)

    def step(self, program: FlatProgram, constants: ADMMConstants, state: ADMMState, p: Any) -> ADMMState:
        """A number of iterations, perhaps an attempt at the equations of the active set, and a look at the residual."""
        parts = constants.split
        tol, stall_tol = self._tolerances(state.y.dtype)
        tol = 0.5 * tol  # an outside evaluation has its own rounding
        v = state.z + state.y / state.rho
        relaxation = jnp.asarray(self.relaxation, v.dtype)
        eta, v = iterate(parts, state.at, state.eta, v, state.rho, relaxation, self.iterations)
        z = jnp.clip(v, parts.lower, parts.upper)
        y = state.rho * (v - z)
        at = evaluate(parts, point(parts, eta), y)
        certain = self._certainty(v.dtype)
        infeasible, unbounded = _certificates(parts, state, at, y, certain)
        active = jnp.where(parts.lower == parts.upper, 1.0, jnp.sign(y))
        passes = state.passes + 1
        # Not where a few passes at the present rate are enough, unless that is slow.
        rate = jnp.minimum(at.residual / jnp.maximum(state.at.residual, tol), 1.0)
        wants = (
            (passes >= _FIRST_POLISH)
            & ((passes & (passes - 1)) == 0)
            & ~((rate <= _FAST) & (at.residual * rate**_SOON <= tol))
        )
        wants = wants & ~infeasible & ~unbounded
        rho = _adapted(parts, at, z, state.rho)
        old = at
        at, y = _attempted(parts, at, y, active, wants, tol)
        polished = at.residual < old.residual
        eta = jnp.where(polished, parts.dual_basis @ (at.x - parts.offset), eta)
        z = jnp.where(polished, jnp.clip(at.along, parts.lower, parts.upper), z)

        finite = jnp.isfinite(at.residual)
        improved = at.residual <= 0.9 * state.best
        age = jnp.where(improved, 0, state.age + 1)
        worn_out = (age >= _PATIENCE) | ~finite
        result = RESULTS.where(worn_out & ~(at.residual <= stall_tol), RESULTS.stalled, state.result)
        result = RESULTS.where(unbounded, RESULTS.unbounded, result)
        result = RESULTS.where(infeasible, RESULTS.infeasible, result)
        success = at.residual <= tol
        result = RESULTS.where(success, RESULTS.successful, result)
        stop = success | worn_out | infeasible | unbounded
        best = jnp.where(improved, at.residual, state.best)
        return ADMMState(at, y, z, eta, rho, active, passes, best, age, stop, result)

    def done(self, state: ADMMState) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def finish(
        self, program: FlatProgram, constants: ADMMConstants, state: ADMMState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The iterate with scaling and elimination undone."""
        recovery, parts = constants.qp.recovery, constants.split
        assert recovery is not None
        g, y = program.n_ineq, state.y
        rows = y[:g]
        nu = equality_multipliers(parts, state.at)
        if program.is_bounded:
            bound, fixed = y[g:], (parts.lower == parts.upper)[g:]
            lower = jnp.where(fixed, -bound, jnp.maximum(-bound, 0.0))
            upper = jnp.where(fixed, 0.0, jnp.maximum(bound, 0.0))
            rows = jnp.concatenate([rows, lower, upper])
        ineq, eq = recovery.multipliers(state.at.x, rows, nu)
        x = recovery.decision(state.at.x)
        if program.is_bounded:
            x = _clipped(program, x, self._tolerances(x.dtype)[0], p)
        return Point(x, ineq, eq), state.result, (jnp.zeros((), x.dtype), jnp.asarray(0))

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-9 if dtype == jnp.float64 else 1e-5) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(10 * tol if self.stall_tol is None else self.stall_tol, dtype)

    def _certainty(self, dtype: Any) -> Scalar:
        default = 1e-6 if dtype == jnp.float64 else 1e-4
        return jnp.asarray(default if self.certainty is None else self.certainty, dtype)


def _clipped(program: FlatProgram, x: Float[Array, " n"], tol: Scalar, p: Any) -> Float[Array, " n"]:
    """`x` moved onto the bounds that it violates, unless that violates rows that it does not."""
    assert program.quadratic is not None
    data, (lower, upper) = program.quadratic(p), program.limits(p)
    moved = jnp.where(lower <= upper, jnp.clip(x, lower, upper), x)

    def violation(x: Array) -> Scalar:
        excess = jnp.where(jnp.isfinite(data.h), data.G @ x - data.h, 0.0)
        return jnp.max(jnp.concatenate([jnp.abs(data.A @ x - data.b), excess]), initial=0.0)

    return jnp.where(violation(moved) <= jnp.maximum(tol, violation(x)), moved, x)


def _balanced(parts: Splitting) -> Scalar:
    """A penalty at which rows weigh as much as curvature, in the geometric mean over directions that have both."""
    a, b = parts.curvature, parts.stiffness
    both = (a > 1e-4) & (b > 1e-4)
    logs = jnp.where(both, jnp.log(jnp.where(both, a, 1.0)) - jnp.log(jnp.where(both, b, 1.0)), 0.0)
    mean = jnp.sum(logs) / jnp.maximum(jnp.sum(both.astype(a.dtype)), 1.0)
    return jnp.where(jnp.any(both), jnp.clip(jnp.exp(mean), 1e-2, 1e2), 1.0).astype(a.dtype)


def _adapted(parts: Splitting, at: At, z: Array, rho: Scalar) -> Scalar:
    """The penalty that would balance relative primal and dual residuals (Stellato et al. 2020, section 5.2)."""
    size = lambda v: jnp.max(jnp.abs(v), initial=0.0)
    tiny = jnp.finfo(z.dtype).tiny ** 0.5
    primal = size(at.along - z) / jnp.maximum(jnp.maximum(size(at.along), size(z)), tiny)
    scale = jnp.maximum(jnp.maximum(size(at.bent), size(at.pull)), jnp.maximum(size(parts.c), tiny))
    dual = size(at.slope) / scale
    # Beside rounding there is nothing to balance.
    noise = 10 * jnp.finfo(z.dtype).eps
    factor = jnp.sqrt(jnp.maximum(primal, noise) / jnp.maximum(dual, noise))
    changes = (factor > _ADAPT) | (factor < 1.0 / _ADAPT)
    return jnp.where(changes, jnp.clip(rho * jnp.clip(factor, 0.1, 10.0), 1e-5, 1e5), rho)


def _certificates(
    parts: Splitting, state: ADMMState, at: At, y: Array, certain: Scalar
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the last changes prove that no point is feasible, or that the objective has no lower bound.

    Source: Stellato et al. (2020), section 3.4, with tolerances relative to the size of what the certificate proves.
    """
    size = lambda v: jnp.max(jnp.abs(v), initial=0.0)
    project = lambda v: v if parts.projector is None else parts.projector @ v
    dy, dx = y - state.y, at.x - state.at.x
    # For every feasible x, (Wᵀdy)ᵀx = dyᵀWx <= uᵀdy₊ + lᵀdy₋: with a left side near zero and a negative right, there is
    # none. `offset` is subtracted on both sides.
    upper, lower = parts.upper - parts.shift, parts.lower - parts.shift
    above, below = jnp.isfinite(upper), jnp.isfinite(lower)
    impossible = jnp.where(dy > 0, ~above, ~below) & (jnp.abs(dy) > certain * size(dy))
    support = jnp.where((dy > 0) & above, dy * jnp.where(above, upper, 0.0), 0.0)
    support = support + jnp.where((dy < 0) & below, dy * jnp.where(below, lower, 0.0), 0.0)
    value = jnp.sum(support)
    pull = size(project(at.pull - state.at.pull))
    lasting = size(dy) > 1e-6 * (1.0 + size(y))
    infeasible = (value < -certain * size(dy)) & (pull <= certain * jnp.abs(value)) & ~jnp.any(impossible) & lasting
    bent, along = at.bent - state.at.bent, at.along - state.at.along
    gain = parts.c @ dx
    rising = jnp.maximum(jnp.where(above, along, 0.0), jnp.where(below, -along, 0.0))
    flat = jnp.maximum(size(bent), jnp.max(rising, initial=0.0))
    going = size(dx) > 1e-6 * (1.0 + size(at.x))
    unbounded = (gain < 0) & (flat <= certain * jnp.abs(gain)) & going
    return infeasible, unbounded


def _attempted(
    parts: Splitting, at: At, y: Array, active: Float[Array, " r"], wants: Bool[Array, ""], tol: Scalar
) -> tuple[At, Array]:
    """The best of `at` and the solutions of a few active sets, if the instance wants to try them.

    A loop rather than a condition: under `vmap` it ends at once where no instance of the batch wants it.
    """

    def body(now: Any) -> Any:
        best, y, last, active, left = now
        new, new_y, active = polish(parts, last, y, active)
        better = jnp.isfinite(new.residual) & (new.residual <= jnp.maximum(tol, 0.1 * best.residual))
        best, y = tree_where(better, (new, new_y), (best, y))
        left = jnp.where(new.residual <= tol, 0, left - 1)
        return best, y, last, active, left

    start = (at, y, at, active, jnp.where(wants, _ATTEMPTS, 0))
    best, y, *_ = jax.lax.while_loop(lambda now: now[-1] > 0, body, start)
    return best, y
