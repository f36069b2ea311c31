"""Output feedback: an observer in front of a policy."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from sciml.core import AbstractPolicy, as_floats, cholesky, invalid, policy_report, policy_start, policy_step
from sciml.simulation import AbstractObserver


class OutputFeedback(AbstractPolicy):
    """A policy that acts on an estimate of the state instead of the state: `u = policy(x̂, w)`.

    In each step of `rollout` the observer is corrected by what is seen, the policy acts on the estimate, and the
    observer is told the input. Entries of what is seen that are not finite count as not measured. A certainty
    equivalent design: for a linear system and a quadratic cost it is optimal (with a Kalman filter and the linear
    quadratic regulator), otherwise it has to be tried.

    Examples:
        ```python
        A, B, C = jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.1]]), jnp.array([[1.0, 0.0]])
        plant = sciml.systems.LinearDiscrete(A, B, C, dt=0.1)
        start = sciml.simulation.Gaussian(jnp.array([0.0, 0.0]), 1.0)
        observer = sciml.simulation.KalmanFilter(plant, process=1e-4, measurement=1e-4, start=start)
        policy = sciml.policies.OutputFeedback(observer, lambda x, w: jnp.array([-2.0 * x[0] - 2.5 * x[1]]))
        place = lambda x: plant.output(0.0, x, None)
        run = sciml.rollout(plant, policy, jnp.array([1.0, 0.0]), None, steps=100, observe=place)
        assert jnp.all(jnp.abs(run.x[-1]) < 0.01)
        ```
    """

    observer: AbstractObserver
    policy: Any
    noise: Float[Array, "y y"] | None

    def __init__(self, observer: AbstractObserver, policy: Any, noise: ArrayLike | None = None):
        """An observer and a policy.

        Args:
            observer: such as `simulation.ExtendedKalmanFilter`. Outputs must not depend on the present input, which
                is not known when they are measured: the observer's `output` is called with `u = None`.
            policy: `(x̂, w) -> u`, or an `AbstractPolicy`.
            noise: covariance `(y, y)`, positive definite, of noise to add to what is seen, for tests in simulation; it
                is drawn from the `key` of `rollout`. None for none.

        Raises:
            ValueError: a `noise` that is no square matrix.
        """
        self.observer, self.policy = observer, policy
        self.noise = None if noise is None else as_floats(noise, "noise")
        if self.noise is not None and (self.noise.ndim != 2 or self.noise.shape[0] != self.noise.shape[1]):
            fix = "write `0.01 * jnp.eye(outputs)`"
            raise invalid("noise", f"shape {self.noise.shape}", "a covariance, (outputs, outputs)", fix)

    def init(self, x0: Any, w: Any) -> tuple[Any, Any]:
        """The memories of observer and policy; the observer starts from its own `start`, not from `x0`."""
        memory = self.observer.init()
        return memory, policy_start(self.policy, self.observer.estimate(memory), w)

    def step(
        self, state: tuple[Any, Any], x: Float[Array, " y"], w: Any, *, key: PRNGKeyArray | None
    ) -> tuple[Any, tuple[Any, Any]]:
        """The input for the measurement `x`, and the next memories.

        Raises:
            ValueError: `noise` without a key.
        """
        memory, inner = state
        y = jnp.asarray(x)
        if self.noise is not None:
            if key is None:
                raise invalid("key", None, "a key, to draw the noise", "pass `key=` to `rollout`")
            mine, key = jr.split(key)
            y = y + cholesky(self.noise) @ jr.normal(mine, y.shape, y.dtype)
        is_measured = jnp.isfinite(y)
        memory = self.observer.correct(memory, jnp.where(is_measured, y, 0.0), None, is_measured)
        estimate = self.observer.estimate(memory)
        u, inner = policy_step(self.policy, inner, estimate, w, key)
        return u, (self.observer.predict(memory, u), inner)

    def report(self, state: tuple[Any, Any]) -> Any:
        """What the policy behind the observer tells."""
        return policy_report(self.policy, state[1])
