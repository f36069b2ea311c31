"""Iterative linear-quadratic regulation and differential dynamic programming, within bounds on the inputs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar, ScalarLike

from sciml.core import RESULTS, tree_where
from sciml.solvers._box_newton import is_held, search
from sciml.solvers._small import cholesky, solve_cholesky

from ._horizon import Horizon, Inputs
from ._plan import AbstractPlanner, Outcome

# Multiples of the regularisation and shares of the dynamics' curvature, all tried at once; what follows the choice.
_FIRST_ORDER = ((0.0, 1.0, 16.0, 256.0), (0.0, 0.0, 0.0, 0.0))
_SECOND_ORDER = ((0.0, 1.0, 16.0, 0.0, 1.0, 16.0, 256.0), (1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0))
_LENGTHS = (1.0, 0.5, 0.2, 0.05, 0.005)  # of the step, all tried at once for each of them
_LEAST, _MOST = 1e-6, 1e8  # regularisation
_ARMIJO = 1e-4
_PATIENCE = 15  # updates in which the residual or the cost has to improve
_ROUNDINGS = 16.0  # of the cost, in which two costs count as equal


class Feedback(eqx.Module):
    """A linear policy about a plan: `u_k = u*_k + gain_k (x_k - x*_k)`, over vectors of all entries."""

    gain: Float[Array, "*batch horizon u x"]
    x: Float[Array, "*batch time x"]
    """The states of the plan, the first one included."""
    u: Float[Array, "*batch horizon u"]


class Model(eqx.Module):
    """Linear dynamics and quadratic cost about a trajectory, over `v = (x, u)`."""

    F: Float[Array, "horizon x v"]
    g: Float[Array, "horizon v"]
    H: Float[Array, "horizon v v"]
    """Of the cost."""
    bend: Float[Array, "horizon v v"]
    """The curvature of the dynamics, weighted by the costates; zero where it is left out."""
    last_g: Float[Array, " x"]
    last_H: Float[Array, "x x"]
    slope: Float[Array, "horizon u"]
    """The gradient of the cost with respect to the inputs."""
    size: Scalar
    """The largest of the terms that the gradient is the sum of."""


class Trial(eqx.Module):
    """Trajectories that were tried: by regularisation, and by length."""

    x: Float[Array, "*trials time x"]
    u: Float[Array, "*trials horizon u"]
    cost: Float[Array, "*trials"]
    gain: Float[Array, "*rungs horizon u x"]
    fall: Float[Array, "*trials"]
    """The decrease of the cost that the slope promises."""


class ILQRState(eqx.Module):
    """One trajectory that obeys dynamics and bounds."""

    x: Float[Array, "time x"]
    u: Float[Array, "horizon u"]
    cost: Scalar
    gain: Float[Array, "horizon u x"]
    mu: Scalar
    """Regularisation, as a multiple of the curvature of the stage cost."""
    residual: Scalar
    best: Scalar
    """The smallest residual so far, up to a tenth."""
    age: Int[Array, ""]
    """Updates since residual or cost improved."""
    updates: Int[Array, ""]
    limit: Int[Array, ""]
    stopped: Bool[Array, ""]
    result: RESULTS


class ILQR(AbstractPlanner):
    """Iterative LQR, and differential dynamic programming by `is_second_order`; inputs within their bounds.

    Choose it for smooth problems: an iteration solves the linear-quadratic model about the trajectory by one backward
    recursion, and rolls out the policy that it finds. A linear-quadratic problem takes one iteration. The states obey
    the dynamics throughout, so that a plan cut short is a plan too; but the run under `u0` has to be finite. A success
    is a point where the projected gradient vanishes, which a saddle point satisfies too.

    In each stage of the recursion the inputs solve a small quadratic program within their bounds, by projected Newton;
    where there are none, by one factorisation. Several regularisations and step lengths are tried at once, and the best
    trial is taken. The last feedback gains are the `state` of the solution: zero for inputs at a bound.

    Args:
        is_second_order: whether the curvature of the dynamics counts (differential dynamic programming). It converges
            quadratically and takes fewer iterations near the solution; each costs second derivatives of the dynamics.
            Steps with and without it compete. Without, convergence is linear, the faster the less curvature is left
            out.
        tol: largest projected gradient of a success, relative to the terms that cancel in it if these are larger than
            one; default 1e-8 in float64 and 1e-4 in float32.
        stall_tol: tolerance that still counts as a success where rounding stops progress; default `100 tol`.

    Gradient: none, see `plan`.

    Source: Li & Todorov (2004), Iterative linear quadratic regulator design for nonlinear biological movement systems;
    Tassa, Mansard & Todorov (2014), Control-limited differential dynamic programming, DOI 10.1109/ICRA.2014.6907001;
    Pantoja (1988), Differential dynamic programming and Newton's method, DOI 10.1080/00207178808906114. Deviations:
    regularisations and step lengths are one ladder, tried at once; the curvature of the dynamics is weighted by the
    costates of the trajectory (Pantoja), not by the gradient of the value function, so that all stages are evaluated at
    once; what is added to the curvature of the inputs is a multiple of the diagonal of the stage cost.

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: x + 0.1 * jnp.stack([x[1], u[0] - jnp.sin(x[0])]),
            stage=lambda x, u, w, p: 0.1 * (x @ x + 0.1 * u @ u),
            initial=lambda p: p,
            horizon=20,
            u_lower=-1.0,
            u_upper=1.0,
        )
        plan = sciml.policies.plan(problem, sciml.policies.ILQR(), jnp.zeros((20, 1)), jnp.array([1.0, 0.0]))
        assert plan.stats.steps < 20 and jnp.all(jnp.abs(plan.value.u) <= 1.0)
        assert plan.state.gain.shape == (20, 1, 2)
        ```
    """

    is_second_order: bool = eqx.field(static=True, default=False)
    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None

    def init(self, horizon: Horizon, u: Inputs, limit: int, key: PRNGKeyArray | None) -> ILQRState:
        """The run under the given inputs."""
        x, cost = horizon.run(u)
        zero, huge = jnp.zeros((), u.dtype), jnp.full((), jnp.inf, u.dtype)
        gain, none = jnp.zeros((*u.shape, x.shape[1]), u.dtype), jnp.zeros((), int)
        is_fine = jnp.isfinite(cost)
        limited = RESULTS.max_steps_reached
        result = RESULTS.where(is_fine, limited, RESULTS.nonfinite_start)  # pyright: ignore[reportArgumentType]
        return ILQRState(x, u, cost, gain, zero + _LEAST, huge, huge, none, none, jnp.asarray(limit), ~is_fine, result)

    def step(self, horizon: Horizon, state: ILQRState) -> ILQRState:
        """Derivatives; if the gradient is not small yet, the best trial of the ladder."""
        model = linearised(horizon, state.x, state.u, self.is_second_order)
        tol, stall_tol = self._tolerances(state.u.dtype)
        residual = horizon.residual(state.u, model.slope)
        scale = jnp.maximum(model.size, 1.0)
        is_fine = jnp.isfinite(residual) & jnp.all(jnp.isfinite(model.H)) & jnp.all(jnp.isfinite(model.last_H))
        new, rung, has_finite = self._best_trial(horizon, state, model)

        improves = new.cost < state.cost - _ROUNDINGS * jnp.finfo(state.u.dtype).eps * jnp.abs(state.cost)
        closer = residual < 0.9 * state.best
        moved = is_fine & (new.cost < jnp.inf)
        age = jnp.where(improves | closer, 0, state.age + 1)
        converged = is_fine & (residual <= tol * scale)
        at_limit = state.updates >= state.limit
        hopeless = is_fine & ~moved & (state.mu >= _MOST)
        worn_out = (is_fine & moved & (age >= _PATIENCE)) | hopeless
        close = worn_out & (residual <= stall_tol * scale)

        result = RESULTS.where(has_finite, RESULTS.stalled, RESULTS.nonfinite_step)
        result = RESULTS.where(worn_out, result, state.result)
        bad = RESULTS.where(state.updates == 0, RESULTS.nonfinite_start, RESULTS.nonfinite_step)
        result = RESULTS.where(is_fine, result, bad)
        result = RESULTS.where(converged | close, RESULTS.successful, result)
        stops = converged | at_limit | worn_out | ~is_fine
        advance = moved & ~stops
        x, u, cost = tree_where(advance, (new.x, new.u, new.cost), (state.x, state.u, state.cost))
        # The gains of the last model, also where nothing is left to do.
        gain = jnp.where(moved, new.gain, state.gain)
        factor = jnp.asarray([1 / 16 if rung == 0 else rung for rung in self._rungs[0]], u.dtype)[rung]
        mu = jnp.clip(state.mu * jnp.where(moved, factor, 256.0), _LEAST, _MOST)
        best, updates = jnp.where(closer, residual, state.best), state.updates + advance.astype(int)
        return ILQRState(x, u, cost, gain, mu, residual, best, age, updates, state.limit, stops, result)

    def done(self, state: ILQRState) -> Bool[Array, ""]:
        """Whether it converged or failed."""
        return state.stopped

    def finish(self, horizon: Horizon, state: ILQRState) -> Outcome:
        """The trajectory, and the gains about it."""
        feedback = Feedback(state.gain, state.x, state.u)
        return Outcome(state.u, state.result, state.updates, state.residual, feedback)

    def _best_trial(
        self, horizon: Horizon, state: ILQRState, model: Model
    ) -> tuple[Trial, Int[Array, ""], Bool[Array, ""]]:
        """The trial of least cost; its regularisation's number; whether any trial was finite."""
        multiples, shares = (jnp.asarray(row, state.u.dtype) for row in self._rungs)
        trials = jax.vmap(lambda mu, share: _trials(horizon, state, model, mu, share))(state.mu * multiples, shares)
        costs = trials.cost.ravel()
        # Near the solution costs are rounding, and the full step of the model itself is as good as any.
        bonus = _ROUNDINGS * jnp.finfo(costs.dtype).eps * jnp.abs(state.cost)
        ranked = jnp.where(jnp.arange(costs.size) == 0, costs - bonus, costs)
        best = jnp.argmin(ranked)
        rung, length = best // len(_LENGTHS), best % len(_LENGTHS)
        x, u, cost, gain = trials.x[rung, length], trials.u[rung, length], costs[best], trials.gain[rung]
        is_full = best == 0
        fall = state.cost - cost
        accepted = jnp.where(is_full, fall >= -bonus, fall > 0) & (fall >= _ARMIJO * trials.fall[rung, length] - bonus)
        cost = jnp.where(accepted, cost, jnp.inf)
        return Trial(x, u, cost, gain, fall), rung, jnp.any(costs < jnp.inf)

    @property
    def _rungs(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Multiples and shares."""
        return _SECOND_ORDER if self.is_second_order else _FIRST_ORDER

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-8 if dtype == jnp.float64 else 1e-4) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(100 * tol if self.stall_tol is None else self.stall_tol, dtype)


def linearised(horizon: Horizon, x: Array, u: Array, is_second_order: bool) -> Model:
    """The linear-quadratic model about a trajectory, and the gradient of the cost by costates.

    λ_N = ∇V(x_N),   λ_k = ∇_x ℓ_k + A_kᵀ λ_{k+1},   dJ/du_k = ∇_u ℓ_k + B_kᵀ λ_{k+1}
    """
    staged, p, nx = horizon.staged, horizon.p, x.shape[1]
    split = lambda v: (v[:nx], v[nx:])
    v = jnp.concatenate([x[:-1], u], axis=1)

    def functions(v: Array, w: Any) -> tuple[Scalar, Array]:
        cost, _, after = staged.stage(*split(v), w, p)
        return cost, after

    def first(v: Array, w: Any) -> tuple[Array, Array]:
        gradient = jax.grad(lambda v: functions(v, w)[0])(v)
        return gradient, jax.jacfwd(lambda v: functions(v, w)[1])(v)

    g, F = jax.vmap(first)(v, horizon.w)
    end = lambda x: staged.terminal(x, p)[0]
    last_g, last_H = jax.grad(end)(x[-1]), jax.hessian(end)(x[-1])
    back = lambda costate, at: (at[0][:nx] + at[1][:, :nx].T @ costate, costate)
    _, costates = jax.lax.scan(back, last_g, (g, F), reverse=True)

    H = jax.vmap(jax.hessian(lambda v, w: functions(v, w)[0]))(v, horizon.w)
    bend = jnp.zeros_like(H)
    if is_second_order:
        bend = jax.vmap(jax.hessian(lambda v, w, costate: costate @ functions(v, w)[1]))(v, horizon.w, costates)
    ahead = jnp.einsum("kxu,kx->ku", F[:, :, nx:], costates)
    size = jnp.max(jnp.maximum(jnp.abs(g[:, nx:]), jnp.abs(ahead)), initial=0.0)
    return Model(F, g, (H + H.mT) / 2, (bend + bend.mT) / 2, last_g, (last_H + last_H.T) / 2, g[:, nx:] + ahead, size)


def _trials(horizon: Horizon, state: ILQRState, model: Model, mu: Scalar, share: Scalar) -> Trial:
    """All lengths of the step with one regularisation."""
    offset, gain, linear, bend, is_sound = _recursion(horizon, state, model, mu, share)
    lengths = jnp.asarray(_LENGTHS, mu.dtype)
    feed = (state.x[:-1], state.u, offset, gain, horizon.lower, horizon.upper)

    def one(length: Scalar) -> tuple[Array, Array, Scalar]:
        return horizon.closed_loop(lambda x, at: _feedback(length, x, *at), feed)

    x, u, cost = jax.vmap(one)(lengths)
    cost = jnp.where(is_sound, cost, jnp.inf)
    return Trial(x, u, cost, gain, -lengths * (linear + lengths * bend / 2))


def _feedback(
    length: Scalar, x: Array, was_x: Array, was_u: Array, offset: Array, gain: Array, low: Array, high: Array
) -> Array:
    """The input of one stage, for one length of the step."""
    return jnp.clip(was_u + length * offset + gain @ (x - was_x), low, high)


def _recursion(
    horizon: Horizon, state: ILQRState, model: Model, mu: Scalar, share: Scalar
) -> tuple[Inputs, Float[Array, "horizon u x"], Scalar, Scalar, Bool[Array, ""]]:
    """Backwards over the stages: offsets and gains, slope and curvature of the cost along them, and whether all
    matrices were positive definite (else zeros).

        [Qxx Qxu; Qux Quu] = H + Fᵀ V F,   (qx, qu) = g + Fᵀ v,   d = argmin ½ dᵀ Quu d + quᵀ d,   K = -Quu⁻¹ Qux
        v = qx + Kᵀ Quu d + Kᵀ qu + Qxu d,   V = Qxx + Kᵀ Quu K + Kᵀ Qux + Qxu K
    """
    nx = state.x.shape[1]

    def stage(carry: tuple[Array, Array], at: Any) -> Any:
        (V, v), (F, g, H, weight, low, high) = carry, at
        Q, q = H + F.T @ V @ F, g + F.T @ v
        own, cross, qu = Q[nx:, nx:], Q[nx:, :nx], q[nx:]
        offset, gain, is_sound = _stage_inputs(own + mu * jnp.diag(weight), qu, cross, low, high, horizon.is_bounded)
        linear, bend = qu @ offset, offset @ own @ offset
        v = q[:nx] + gain.T @ (own @ offset + qu) + cross.T @ offset
        V = Q[:nx, :nx] + gain.T @ own @ gain + gain.T @ cross + cross.T @ gain
        return ((V + V.T) / 2, v), (offset, gain, linear, bend, is_sound)

    low, high = horizon.lower - state.u, horizon.upper - state.u
    weight = jnp.abs(jnp.diagonal(model.H, axis1=1, axis2=2)[:, nx:])
    largest = jnp.max(weight, axis=1, keepdims=True, initial=0.0)
    weight = jnp.where(weight > 0, weight, jnp.where(largest > 0, largest, 1.0))
    stages = (model.F, model.g, model.H + share * model.bend, weight, low, high)
    (V, v), found = jax.lax.scan(stage, (model.last_H, model.last_g), stages, reverse=True)
    offset, gain, linear, bend, is_sound = found
    is_sound = jnp.all(is_sound) & jnp.all(jnp.isfinite(V)) & jnp.all(jnp.isfinite(v))
    offset, gain = (jnp.where(is_sound, a, 0.0) for a in (offset, gain))
    return offset, gain, jnp.sum(linear), jnp.sum(bend), is_sound


def _stage_inputs(
    own: Float[Array, "u u"],
    q: Float[Array, " u"],
    cross: Float[Array, "u x"],
    low: Float[Array, " u"],
    high: Float[Array, " u"],
    is_bounded: bool,
) -> tuple[Float[Array, " u"], Float[Array, "u x"], Bool[Array, ""]]:
    """The minimiser of `½ dᵀ own d + qᵀ d` within bounds about zero, the gain of its free entries, and whether the
    matrix was positive definite on them."""
    eye = jnp.eye(q.size, dtype=q.dtype)

    def factor(free: Array) -> tuple[Array, Array]:
        matrix = jnp.where(free[:, None] & free[None, :], own, eye)
        lower = cholesky(matrix)
        is_definite = jnp.all(jnp.isfinite(jnp.diagonal(lower)))
        return jnp.where(is_definite, lower, eye), is_definite

    if not is_bounded:
        lower, is_definite = factor(jnp.ones(q.size, bool))
        both = -solve_cholesky(lower, jnp.concatenate([q[:, None], cross], axis=1))
        return both[:, 0], both[:, 1:], is_definite

    def newton(carry: Any) -> Any:
        d, _, _, _, _, count = carry
        slope = own @ d + q
        free = ~is_held(low, high, d, slope)
        lower, is_definite = factor(free)
        direction = solve_cholesky(lower, jnp.where(free, -slope, 0.0)[:, None])[:, 0]
        new = search(own, q, low, high, d, slope, direction)
        # The full step on a set of free entries that stays is the answer.
        settled = jnp.all(new == d + direction) & jnp.all(free | is_held(low, high, new, own @ new + q))
        return new, free, lower, is_definite, settled | jnp.all(new == d), count + 1

    start = (jnp.zeros_like(q), jnp.ones(q.size, bool), eye, jnp.asarray(True), jnp.asarray(False), jnp.zeros((), int))
    going = lambda carry: ~carry[4] & carry[3] & (carry[5] < 4 * q.size + 4)
    d, free, lower, is_definite, _, _ = jax.lax.while_loop(going, newton, start)
    gain = -solve_cholesky(lower, jnp.where(free[:, None], cross, 0.0))
    return d, jnp.where(free[:, None], gain, 0.0), is_definite
