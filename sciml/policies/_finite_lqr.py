"""The linear quadratic regulator with a finite horizon."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from sciml.core import AbstractPolicy, invalid, RESULTS
from sciml.systems import AbstractDiscreteSystem
from sciml.systems._riccati import discrete_gain, Matrices

from ._design import (
    as_weight,
    as_weights,
    check_discrete,
    Equilibrium,
    finite,
    is_convex,
    model_of,
    reference,
    Targets,
    targets,
    Weights,
)
from ._lqr import reported


class FiniteLQR(AbstractPolicy):
    """The linear quadratic regulator of a finite horizon, `u[k] = u_s - K[k] (x[k] - x_s)`; `finite_lqr` makes it.

    Its memory is the number of the step. After the horizon it keeps the last gain. `w` is as for `LQR`.
    """

    gain: Float[Array, "horizon u x"]
    """`K[k]`."""
    cost: Float[Array, "time x x"]
    """`P[k]`: the cost from step `k` to the end is `(x[k] - x_s)ᵀ P[k] (x[k] - x_s)`."""
    at: Equilibrium
    targets: Targets
    result: RESULTS

    def init(self, x0: Any, w: Any) -> Int[Array, ""]:
        """Step 0."""
        return jnp.zeros((), jnp.int32)

    def step(
        self, state: Int[Array, ""], x: Float[Array, " x"], w: Any, *, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " u"], Int[Array, ""]]:
        """The input for the state `x` and the reference `w`, and the number of the next step.

        Raises:
            ValueError: a reference with another shape than the plant's output.
        """
        K = self.gain[jnp.minimum(state, self.gain.shape[0] - 1)]
        x_s, u_s = self.at.x, self.at.u
        if w is not None:
            change = reference(w, self.at)
            x_s, u_s = x_s + self.targets.X @ change, u_s + self.targets.U @ change
        return u_s - K @ (x - x_s), state + 1


def finite_lqr(
    plant: AbstractDiscreteSystem,
    Q: ArrayLike,
    R: ArrayLike,
    S: ArrayLike | None = None,
    *,
    horizon: int,
    terminal: ArrayLike,
    x: ArrayLike | None = None,
    u: ArrayLike | None = None,
    throw: bool = True,
) -> FiniteLQR:
    """The policy that minimises `Σ_{k<N} xᵀ Q x + uᵀ R u + 2 xᵀ S u + x[N]ᵀ terminal x[N]`, by the Riccati recursion.

    It needs no plant that can be stabilised. It is what `solve` finds for the same `OptimalControl` without limits, as
    a policy.

    Args:
        plant: a system in discrete time, as for `lqr`.
        Q, R, S: weights, as for `lqr`.
        horizon: number of steps `N`, >= 1.
        terminal: weight of the last state, in the forms of `Q`; `lqr(...).cost` makes it the infinite horizon.
        x, u: equilibrium, as for `lqr`.
        throw: whether a failure raises; if not, it is the `result` of the policy.

    Raises:
        ValueError: as `lqr`; `horizon < 1`.
        TypeError: a plant that is no system in discrete time.
        RuntimeError: with `throw`, `RESULTS.unbounded` (weights of the wrong sign) and `diverged` (a cost that
            overflows).

    Gradient: through the recursion, in both modes.

    Source: Anderson & Moore (1990), Optimal Control: Linear Quadratic Methods, section 2.4.

    Examples:
        ```python
        plant = sciml.systems.LinearDiscrete(A=jnp.array([[1.2]]), B=jnp.array([[1.0]]))
        policy = sciml.policies.finite_lqr(plant, Q=1.0, R=1.0, horizon=20, terminal=0.0)
        forever = sciml.policies.lqr(plant, Q=1.0, R=1.0)
        assert jnp.allclose(policy.gain[0], forever.gain) and policy.gain[-1] == 0.0
        ```
    """
    check_discrete(plant, "finite_lqr")
    if horizon < 1:
        raise invalid("horizon", horizon, "at least one step", "give the number of steps N")
    model, at = model_of(plant, x, u)
    weights = as_weights(Q, R, S, model)
    last = as_weight(terminal, model.A.shape[0], "terminal", model.A.dtype)
    policy = _design(model, at, weights, last, int(horizon))
    return reported(policy, model) if throw else policy


@eqx.filter_jit
def _design(model: Any, at: Equilibrium, weights: Weights, last: Array, horizon: int) -> FiniteLQR:
    is_sound = is_convex(weights)
    eye = jnp.eye(weights.R.shape[0], dtype=last.dtype)
    R, zero = jnp.where(is_sound, weights.R, eye), jnp.zeros((), last.dtype)
    A, B, Q = (jnp.where(is_sound, a, zero) for a in (model.A, model.B, weights.Q))
    data = Matrices(A, B, Q, R, weights.S)

    def back(P: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        K = discrete_gain(data, P)
        loop = data.A - data.B @ K
        # As a sum of squares, which stays positive semidefinite under rounding.
        P = loop.T @ P @ loop + data.Q + K.T @ data.R @ K - data.S @ K - (data.S @ K).T
        P = 0.5 * (P + P.T)
        return P, (K, P)

    with jax.default_matmul_precision("highest"):
        _, (gain, cost) = jax.lax.scan(back, last, None, length=horizon, reverse=True)
        points = finite(targets(model), is_sound)
    cost = jnp.concatenate([cost, last[None]])
    is_finite = jnp.all(jnp.isfinite(cost)) & jnp.all(jnp.isfinite(gain))
    result = RESULTS.where(is_finite, RESULTS.successful, RESULTS.diverged)
    result = RESULTS.where(is_sound, result, RESULTS.unbounded)
    gain, cost = finite((gain, cost), is_sound & is_finite)
    return FiniteLQR(gain, cost, at, points, result)
