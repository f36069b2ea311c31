"""The linear quadratic regulator with integral action."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Complex, Float, PRNGKeyArray

from sciml.core import AbstractPolicy, as_floats, invalid, one_at_a_time, RESULTS
from sciml.systems import AbstractDiscreteSystem, LinearDiscrete

from ._design import as_weight, as_weights, check_discrete, Equilibrium, finite, model_of, reference, Weights
from ._lqr import has_design, infinite, poles_of, reported

_solve, _pinv = one_at_a_time(jnp.linalg.solve), one_at_a_time(jnp.linalg.pinv)


class LQI(AbstractPolicy):
    """The linear quadratic regulator with integral action: `u = u_e - K (x - x_e) - L z + F (w - y_e)`; made by `lqi`.

        z[k+1] = z[k] + dt (w[k] - y[k])

    Its memory `z` is the integral of the error of the plant's outputs. The feed-forward `F` makes `z` return to zero
    where the model is right. With limits, the input is clipped, and `z` is first moved to where it would have given the
    clipped input, so that it does not wind up. `w` is the reference of the output, or None for that at the equilibrium.
    """

    gain: Float[Array, "u x"]
    """`K`."""
    integral_gain: Float[Array, "u y"]
    """`L`."""
    feed_forward: Float[Array, "u y"]
    """`F`."""
    release: Float[Array, "y u"]
    """`L⁺`: how far the integral moves for each unit by which the input is clipped."""
    cost: Float[Array, "n n"]
    """`P` of the state and the integral, `[x, z]`."""
    loop: Float[Array, "n n"]
    """The matrix of the closed loop, of `[x, z]`."""
    at: Equilibrium
    plant: AbstractDiscreteSystem
    lower: Float[Array, " u"]
    upper: Float[Array, " u"]
    result: RESULTS

    def init(self, x0: Any, w: Any) -> Float[Array, " y"]:
        """An integral of zero."""
        return jnp.zeros_like(self.at.y)

    def step(
        self, state: Float[Array, " y"], x: Float[Array, " x"], w: Any, *, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, " u"], Float[Array, " y"]]:
        """The input for the state `x` and the reference `w`, and the next integral.

        Raises:
            ValueError: a reference with another shape than the plant's output.
        """
        change = jnp.zeros_like(self.at.y) if w is None else reference(w, self.at)
        wanted = self.at.u - self.gain @ (x - self.at.x) - self.integral_gain @ state + self.feed_forward @ change
        u = jnp.clip(wanted, self.lower, self.upper)
        y = self.plant.output(jnp.zeros((), x.dtype), x, u)
        released = state - self.release @ (u - wanted)
        return u, released + self.plant.dt.astype(x.dtype) * (change + self.at.y - y)

    @property
    def poles(self) -> Complex[Array, " n"]:
        """The eigenvalues of the closed loop without limits, inside the unit circle; they carry no derivative."""
        return poles_of(self.loop)


def lqi(
    plant: AbstractDiscreteSystem,
    Q: ArrayLike,
    R: ArrayLike,
    integral: ArrayLike,
    S: ArrayLike | None = None,
    *,
    lower: ArrayLike = -jnp.inf,
    upper: ArrayLike = jnp.inf,
    x: ArrayLike | None = None,
    u: ArrayLike | None = None,
    throw: bool = True,
) -> LQI:
    """The regulator that minimises `Σ xᵀ Q x + uᵀ R u + 2 xᵀ S u + zᵀ integral z`, with `z` the integral of the error.

    Its outputs reach constant references exactly, whatever constant disturbances act and however wrong the model is, as
    long as the loop is stable and the input inside its limits.

    Args:
        plant: a system in discrete time, as for `lqr`, with at most as many outputs as inputs. Every output follows a
            reference: let `C` (or `output`) have only those that shall.
        Q, R, S: weights, as for `lqr`.
        integral: weight of the integral, in the forms of `Q`, positive; the larger, the sooner the error vanishes. The
            integral is in units of output times time, so that the weight does not depend on the sampling time.
        lower: least input, one number for all or one each; minus infinity for none.
        upper: largest input, likewise.
        x, u: equilibrium, as for `lqr`.
        throw: whether a failure raises; if not, it is the `result` of the policy.

    Raises:
        ValueError: as `lqr`; more outputs than inputs; `lower > upper`.
        TypeError: a plant that is no system in discrete time.
        RuntimeError: as `lqr`; `RESULTS.unstable` also where the plant does not pass constant inputs to its outputs.

    Gradient: as for `lqr`.

    Source: Young & Willems (1972), An approach to the linear multivariable servomechanism problem, International
    Journal of Control 15(5), doi:10.1080/00207177208932211; against windup Hanus, Kinnaert & Henrotte (1987),
    Conditioning technique, a general anti-windup and bumpless transfer method, Automatica 23(6),
    doi:10.1016/0005-1098(87)90029-X.

    Examples:
        ```python
        level = sciml.systems.LinearDiscrete(A=jnp.array([[0.9]]), B=jnp.array([[0.2]]))
        policy = sciml.policies.lqi(level, Q=1.0, R=1.0, integral=0.5, lower=0.0, upper=1.0)
        leaking = sciml.systems.LinearDiscrete(A=jnp.array([[0.85]]), B=jnp.array([[0.15]]))  # not the model
        run = sciml.rollout(leaking, policy, jnp.zeros(1), jnp.full((100, 1), 0.7))
        assert jnp.allclose(run.x[-1], 0.7, atol=1e-3) and jnp.max(run.u) <= 1.0
        ```
    """
    check_discrete(plant, "lqi")
    model, at = model_of(plant, x, u)
    weights = as_weights(Q, R, S, model)
    dtype, (outputs, inputs) = model.A.dtype, model.D.shape
    if outputs > inputs:
        fix = "give `C` only the outputs that shall follow a reference"
        raise invalid("plant", f"{outputs} outputs and {inputs} inputs", "at most as many outputs as inputs", fix)
    error = as_weight(integral, outputs, "integral", dtype)
    low, high = _limit(lower, "lower", inputs, dtype), _limit(upper, "upper", inputs, dtype)
    if (
        not isinstance(low, Tracer)
        and not isinstance(high, Tracer)
        and bool(np.any(np.asarray(low) > np.asarray(high)))
    ):
        raise invalid("lower", f"lower = {low} > upper = {high}", "lower <= upper", "swap the two, or relax one")
    big = LinearDiscrete(*_with_integral(model), dt=model.dt)
    policy = _design(big, at, weights, error, (plant, low, high))
    return reported(policy, big) if throw else policy


def _limit(value: ArrayLike, name: str, inputs: int, dtype: Any) -> Float[Array, " u"]:
    array = as_floats(value, name).astype(dtype)
    if array.shape not in ((), (inputs,)):
        raise invalid(name, f"shape {array.shape}", f"a number or ({inputs},)", "give one limit per input")
    return jnp.broadcast_to(array, (inputs,))


def _with_integral(model: LinearDiscrete) -> tuple[Array, Array]:
    """The matrices of `[x, z]`, for a reference of zero: `z[k+1] = z[k] - dt (C x[k] + D u[k])`."""
    outputs, dtype = model.C.shape[0], model.A.dtype
    dt, eye = model.dt.astype(dtype), jnp.eye(outputs, dtype=dtype)
    A = jnp.block([[model.A, jnp.zeros((model.A.shape[0], outputs), dtype)], [-dt * model.C, eye]])
    return A, jnp.concatenate([model.B, -dt * model.D])


@eqx.filter_jit
def _design(big: LinearDiscrete, at: Equilibrium, weights: Weights, error: Array, rest: Any) -> LQI:
    (plant, lower, upper), n, m = rest, at.x.size, error.shape[0]
    dtype, zero = error.dtype, jnp.zeros((n, m), error.dtype)
    Q = jnp.block([[weights.Q, zero], [zero.T, error]])
    S = jnp.concatenate([weights.S, jnp.zeros((m, weights.S.shape[1]), dtype)])
    with jax.default_matmul_precision("highest"):
        gain, cost, loop, result = infinite(big, Weights(Q, weights.R, S))
        K, L = gain[:, :n], gain[:, n:]
        # Under a reference w the integral settles at Z w, [X; Z] = (I - loop)⁻¹ [0; dt I]: F = -L Z takes its place.
        unit = jnp.concatenate([zero, big.dt.astype(dtype) * jnp.eye(m, dtype=dtype)])
        exists = has_design(result)
        steady = _solve(jnp.where(exists, jnp.eye(n + m, dtype=dtype) - loop, jnp.eye(n + m, dtype=dtype)), unit)
        feed, release = finite((-L @ steady[n:], _pinv(L)), exists)
    return LQI(K, L, feed, release, cost, loop, at, plant, lower, upper, result)
