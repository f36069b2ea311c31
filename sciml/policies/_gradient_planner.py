"""First-order planning: an optax method on the gradient through the rollout."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar, ScalarLike

from sciml.core import RESULTS, tree_where

from ._horizon import Horizon, Inputs
from ._plan import AbstractPlanner, Outcome

_MOST_REFUSALS = 20  # in a row, each of which halves the steps


class GradientState(eqx.Module):
    """The present inputs, and the best ones."""

    u: Float[Array, "horizon u"]
    memory: Any
    """That of the optax method."""
    scale: Scalar
    best: Float[Array, "horizon u"]
    cost: Scalar
    """That of the best."""
    residual: Scalar
    """That of the best."""
    refusals: Int[Array, ""]
    updates: Int[Array, ""]
    limit: Int[Array, ""]
    stopped: Bool[Array, ""]
    result: RESULTS


class Gradient(AbstractPlanner):
    """Gradient descent on the inputs by an optax method, each step projected onto the bounds.

    Choose it to compare, for very many inputs, or where second derivatives cost too much; `ILQR` needs a hundredth of
    the iterations. The best plan on the way is kept. A step to inputs whose cost is not finite is refused, and all
    later ones are halved. Where the projected gradient is not small enough at the limit of steps, the result is
    `max_steps_reached`, and the plan is usable.

    Args:
        method: an optax transformation, such as `optax.adam(0.1)`. Projection and its own memory do not know of each
            other, so that entries at bounds slow down methods with momentum.
        tol: largest projected gradient of a success; default 1e-6 in float64 and 1e-3 in float32.

    Gradient: none, see `plan`.

    Examples:
        ```python
        import optax

        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
            u_lower=-0.5,
        )
        planner = sciml.policies.Gradient(optax.sgd(0.1))
        plan = sciml.policies.plan(problem, planner, jnp.zeros((5, 1)), jnp.ones(1))
        assert plan.value.u[0, 0] == -0.5
        ```
    """

    method: optax.GradientTransformation = eqx.field(static=True)
    tol: ScalarLike | None = None

    @property
    def most_steps(self) -> int:
        """The limit of steps where `plan` is given none: first-order methods take many."""
        return 2000

    def init(self, horizon: Horizon, u: Inputs, limit: int, key: PRNGKeyArray | None) -> GradientState:
        """The inputs, not yet evaluated."""
        huge, none = jnp.full((), jnp.inf, u.dtype), jnp.zeros((), int)
        with jax.numpy_dtype_promotion("standard"):
            memory = jax.tree.map(jnp.asarray, self.method.init(u))
        one, no = jnp.ones((), u.dtype), jnp.asarray(False)
        limited = RESULTS.max_steps_reached
        result = RESULTS.where(no, RESULTS.successful, limited)  # pyright: ignore[reportArgumentType]
        return GradientState(u, memory, one, u, huge, huge, none, none, jnp.asarray(limit), no, result)

    def step(self, horizon: Horizon, state: GradientState) -> GradientState:
        """Cost and gradient of the present inputs, then a step from them."""
        cost, slope = jax.value_and_grad(horizon.plain_cost)(state.u)
        residual = horizon.residual(state.u, slope)
        is_fine = jnp.isfinite(cost) & jnp.isfinite(residual)
        better = is_fine & (cost < state.cost)
        tol = (1e-6 if slope.dtype == jnp.float64 else 1e-3) if self.tol is None else self.tol
        converged = is_fine & (residual <= tol)
        best, least, remaining = tree_where(
            better | converged, (state.u, cost, residual), (state.best, state.cost, state.residual)
        )
        with jax.numpy_dtype_promotion("standard"):
            change, memory = self.method.update(jnp.where(is_fine, slope, 0.0), state.memory, state.u)
            fresh = jax.tree.map(jnp.asarray, self.method.init(state.u))
            memory = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), memory, state.memory)
            change = jnp.asarray(change, state.u.dtype)
        # After a refusal: from the best inputs, with shorter steps and without momentum.
        scale = jnp.where(is_fine, state.scale, state.scale / 2)
        u = jnp.where(is_fine, horizon.clip(state.u + scale * change.astype(state.u.dtype)), best)
        u = jnp.where(jnp.isfinite(u), u, best)
        memory = tree_where(is_fine, memory, fresh)
        refusals = jnp.where(is_fine, 0, state.refusals + 1)
        at_start = ~is_fine & (state.updates == 0)
        lost = at_start | (refusals > _MOST_REFUSALS)
        stopped = converged | lost | (state.updates >= state.limit)
        result = RESULTS.where(lost, RESULTS.nonfinite_step, state.result)
        result = RESULTS.where(at_start, RESULTS.nonfinite_start, result)
        result = RESULTS.where(converged, RESULTS.successful, result)
        updates = state.updates + (~stopped).astype(int)
        return GradientState(u, memory, scale, best, least, remaining, refusals, updates, state.limit, stopped, result)

    def done(self, state: GradientState) -> Bool[Array, ""]:
        """Whether it converged or failed."""
        return state.stopped

    def finish(self, horizon: Horizon, state: GradientState) -> Outcome:
        """The best inputs."""
        return Outcome(state.best, state.result, state.updates, state.residual)
