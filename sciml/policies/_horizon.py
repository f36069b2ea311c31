"""An optimal-control problem at one instance as functions of the inputs alone, over vectors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from sciml.programs import Staged

Inputs = Float[Array, "horizon u"]


class Horizon(eqx.Module):
    """A problem at one instance: `minimise cost(u)  subject to  lower <= u <= upper`, by a rollout from `x0`.

    What a planner is given. Everything is vectors: states `(N + 1, x)`, inputs `(N, u)`.
    """

    staged: Staged
    p: Any
    x0: Float[Array, " x"]
    w: Any
    lower: Inputs
    upper: Inputs
    is_bounded: bool = eqx.field(static=True)
    """Whether the problem names any bound on the inputs."""

    def clip(self, u: Inputs) -> Inputs:
        """The nearest inputs within the bounds."""
        return jnp.clip(u, self.lower, self.upper) if self.is_bounded else u

    def run(self, u: Inputs) -> tuple[Float[Array, "time x"], Scalar]:
        """The states that the inputs cause, and the cost: infinite, never NaN, where it is not finite.

        From the first state that is not finite on, the last finite one is held.
        """
        x, _, cost = self.closed_loop(lambda x, at: at, u)
        return x, cost

    def closed_loop(
        self, control: Callable[[Array, Any], Array], feed: Any
    ) -> tuple[Float[Array, "time x"], Inputs, Scalar]:
        """States, inputs and cost under the inputs `control(x_k, feed_k)`; see `run`."""
        staged, p = self.staged, self.p

        def step(carry: tuple[Array, Scalar, Bool[Array, ""]], at: Any) -> Any:
            (x, total, is_fine), (given, w) = carry, at
            u = control(x, given)
            cost, _, after = staged.stage(x, u, w, p)
            is_fine = is_fine & jnp.all(jnp.isfinite(after)) & jnp.isfinite(cost)
            x = jnp.where(is_fine, after, x)
            return (x, total + jnp.where(is_fine, cost, 0.0), is_fine), (x, u)

        start = (self.x0, jnp.zeros((), self.x0.dtype), jnp.asarray(True))
        (last, total, is_fine), (x, u) = jax.lax.scan(step, start, (feed, self.w))
        total = total + staged.terminal(last, p)[0]
        cost = jnp.where(is_fine & jnp.isfinite(total), total, jnp.inf)
        return jnp.concatenate([self.x0[None], x]), u, cost

    def cost(self, u: Inputs) -> Scalar:
        """The cost of the inputs, infinite where it is not finite."""
        return self.run(u)[1]

    def plain_cost(self, u: Inputs) -> Scalar:
        """The cost without guards, for derivatives: NaN where a state is not finite."""

        def step(x: Array, at: tuple[Array, Any]) -> tuple[Array, Scalar]:
            cost, _, after = self.staged.stage(x, at[0], at[1], self.p)
            return after, cost

        last, costs = jax.lax.scan(step, self.x0, (u, self.w))
        return jnp.sum(costs) + self.staged.terminal(last, self.p)[0]

    def residual(self, u: Inputs, slope: Inputs) -> Scalar:
        """The largest entry of the projected gradient `u - clip(u - slope)`; infinite where it is not finite.

        Zero at a local minimum within the bounds (Facchinei & Pang 2003, section 1.5). In the unit of the gradient.
        """
        largest = jnp.max(jnp.abs(u - self.clip(u - slope)), initial=0.0)
        return jnp.where(jnp.isfinite(largest), largest, jnp.inf)
