"""Integral action around any policy, and what keeps integrals from winding up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from sciml.core import (
    AbstractPolicy,
    as_floats,
    check_policy,
    invalid,
    one_at_a_time,
    policy_report,
    policy_start,
    policy_step,
)
from sciml.nn._squash import check_bounds, constant, numbers

_pinv = one_at_a_time(jnp.linalg.pinv)


def conditioned(
    wanted: Float[Array, " u"],
    z: Float[Array, " y"],
    release: Float[Array, "y u"],
    lower: Float[Array, " u"],
    upper: Float[Array, " u"],
) -> tuple[Float[Array, " u"], Float[Array, " y"]]:
    """The clipped input, and the integral that would have given it: `z + G⁺ (u - wanted)`, where `wanted = ... + G z`.

    Source: Hanus, Kinnaert & Henrotte (1987), Conditioning technique, a general anti-windup and bumpless transfer
    method, Automatica 23(6), doi:10.1016/0005-1098(87)90029-X.
    """
    u = jnp.clip(wanted, lower, upper)
    return u, z + release @ (u - wanted)


class IntegralAction(AbstractPolicy):
    """Any policy with the integral of a tracking error added: `u = clip(policy(x, w) + L z, lower, upper)`.

        z[k+1] = z[k] + dt e(x[k], w[k])

    Where the closed loop is stable and settles inside the limits, the error settles at zero, whatever constant
    disturbances act and however wrong the model was. Where the input is clipped, `z` is first moved to where it would
    have given the clipped input, so that it does not wind up. Of a linear plant, `lqi` designs `L` together with the
    rest; here you choose it, or `fit` trains it with the policy. With too large a gain the loop is unstable.

    Gradient: in both modes, by the policy and by `L`; none where an input is clipped.

    Examples:
        ```python
        tank = sciml.systems.LinearDiscrete(A=jnp.array([[0.9]]), B=jnp.array([[0.15]]))
        law = lambda x, w: 0.5 * w + 2.0 * (w - x)  # for B = 0.2
        error = lambda x, w: w - x
        policy = sciml.policies.IntegralAction(law, jnp.array([[0.2]]), error, dt=1.0, lower=0.0, upper=1.0)
        run = sciml.rollout(tank, policy, jnp.zeros(1), jnp.full((100, 1), 0.7))
        assert jnp.allclose(run.x[-1], 0.7, atol=1e-3) and jnp.max(run.u) <= 1.0
        ```
    """

    policy: Any
    gain: Float[Array, "u y"]
    """`L`."""
    error: Callable[[Any, Any], Any]
    dt: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __init__(
        self,
        policy: Any,
        gain: ArrayLike,
        error: Callable[[Any, Any], Any],
        *,
        dt: ArrayLike,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
    ):
        """Args:
            policy: `(x, w) -> u`, or an `AbstractPolicy`, whose inputs are vectors `(u,)`.
            gain: `L`, shape `(u, y)`, in units of input per output and time: positive entries where a larger input
                raises the output.
            error: `(x, w) -> e`, the errors that shall vanish, shape `(y,)`: references less outputs. It gets what the
                policy sees.
            dt: sampling time, > 0, such as `plant.dt`.
            lower: least input, one number for all or one each; minus infinity for none. It is not trained.
            upper: largest input, likewise.

        Raises:
            ValueError: a gain that is no matrix, `dt <= 0`, `lower > upper`, a wrong number of limits.
            TypeError: a policy that is none.
        """
        check_policy(policy)
        self.policy, self.error = policy, error
        self.gain = as_floats(gain, "gain")
        if self.gain.ndim != 2:
            fix = "give a row for each input and a column for each error"
            raise invalid("gain", f"shape {self.gain.shape}", "a matrix, (inputs, errors)", fix)
        inputs = self.gain.shape[0]
        (step,) = numbers(dt, 1, "dt")
        if not step > 0.0:
            raise invalid("dt", step, "a sampling time > 0", "pass `plant.dt`")
        self.dt = step
        self.lower, self.upper = numbers(lower, inputs, "lower"), numbers(upper, inputs, "upper")
        check_bounds(self.lower, self.upper)

    def init(self, x0: Any, w: Any) -> tuple[Float[Array, " y"], Float[Array, "y u"], Any]:
        """An integral of zero, the pseudo-inverse of `L`, and the memory of the policy."""
        return jnp.zeros(self.gain.shape[1], self.gain.dtype), _pinv(self.gain), policy_start(self.policy, x0, w)

    def step(
        self, state: tuple[Any, Any, Any], x: Any, w: Any, *, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " u"], tuple[Any, Any, Any]]:
        """The input for what is seen and the exogenous signal, and the next memory.

        Raises:
            ValueError: a policy whose input is no vector as long as `gain` has rows, an `error` that is none as long as
                it has columns.
        """
        z, release, inner = state
        first, inner = policy_step(self.policy, inner, x, w, key)
        error = jnp.asarray(self.error(x, w))
        for name, value, size in (("policy", first, self.gain.shape[0]), ("error", error, self.gain.shape[1])):
            if jnp.shape(value) != (size,):
                got, expected = f"a value of shape {jnp.shape(value)}", f"({size},), as `gain` {self.gain.shape} asks"
                raise invalid(name, got, expected, "return a vector, or give a `gain` of (inputs, errors)")
        wanted = first + self.gain @ z
        u, z = conditioned(wanted, z, release, constant(self.lower, wanted), constant(self.upper, wanted))
        dt = jax.lax.stop_gradient(jnp.asarray(self.dt, z.dtype))  # a tree map may have made an array of it
        return u, (z + dt * error, release, inner)

    def report(self, state: tuple[Any, Any, Any]) -> Any:
        """What the wrapped policy tells."""
        return policy_report(self.policy, state[2])
