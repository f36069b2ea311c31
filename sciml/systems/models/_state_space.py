"""State-space models in discrete time: a linear part, and networks beside it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from sciml.core import invalid, one_at_a_time

from .._abstract import AbstractDiscreteSystem
from .._linear import LinearDiscrete
from .._parameters import positive_scalar
from ._networks import joined, zero_network

_qr = one_at_a_time(jnp.linalg.qr)


class StateSpace(AbstractDiscreteSystem):
    """`x⁺ = A x + B u + f(x, u)`, `y = C x + D u + g(x, u)`: the general model of sampled data with hidden states.

    The networks `f` and `g` have one zero layer at the start, so that training begins at the linear part: give that of
    `training.subspace`, and the fit can only improve on the linear model. `Started(model, Encoder(...))` finds the
    initial state of every window.

    Examples:
        ```python
        from sciml.systems.models import Encoder, Started, StateSpace

        system = StateSpace(3, 1, 1, dt=0.1, key=jax.random.key(0))
        model = Started(system, Encoder(3, 1, 1, lag=6, key=jax.random.key(1)))
        data = sciml.sources.record(y=jnp.zeros(20), u=jnp.ones(20), dt=0.1)
        assert sciml.simulation.free_run(model, data).y.shape == (14, 1)
        ```

    Source: Schoukens (2021), Improved initialization of state-space artificial neural networks, arXiv:2103.14516, for
    the linear part beside the networks; Beintema, Toth & Schoukens (2023), Deep subspace encoders for nonlinear system
    identification, DOI 10.1016/j.automatica.2023.111210, for the encoder.
    """

    A: Float[Array, "state state"]
    B: Float[Array, "state input"]
    C: Float[Array, "output state"]
    D: Float[Array, "output input"]
    f: eqx.nn.MLP | None
    g: eqx.nn.MLP | None
    dt: Float[Array, ""]

    def __init__(
        self,
        state_size: int,
        input_size: int,
        output_size: int,
        *,
        dt: ArrayLike,
        linear: LinearDiscrete | None = None,
        width: int = 16,
        depth: int = 1,
        has_output_network: bool = False,
        activation: Callable[[Array], Array] = jax.nn.tanh,
        key: PRNGKeyArray,
    ):
        """Args:
            state_size, input_size, output_size: numbers of channels.
            dt: sampling time in the unit of the records.
            linear: where to start, with the same numbers of channels; None for a random stable one, whose eigenvalues
                have modulus 0.9.
            width, depth: of the hidden layers of the networks; width 0 for a linear model.
            has_output_network: whether the output has a network of its own; without it the output is linear in state
                and input.
            activation: of the hidden layers.
            key: of the initial weights.

        Raises:
            ValueError: a linear part of other size, or (outside `jit`) of another sampling time.
        """
        kf, kg, kb, kc, ka = jr.split(key, 5)
        n, m, p = state_size, input_size, output_size
        if linear is None:
            A = 0.9 * _qr(jr.normal(ka, (n, n)))[0]
            scale = lambda k, shape, fan: jr.normal(k, shape) / max(fan, 1) ** 0.5
            linear = LinearDiscrete(A, scale(kb, (n, m), m), scale(kc, (p, n), n), dt=dt)
        if (linear.A.shape[0], *linear.D.shape[::-1]) != (n, m, p):
            got = f"{linear.A.shape[0]} states, {linear.D.shape[1]} inputs, {linear.D.shape[0]} outputs"
            raise invalid("linear", got, f"{n}, {m} and {p}", "estimate the linear model with the same sizes")
        self.A, self.B, self.C, self.D = linear.A, linear.B, linear.C, linear.D
        self.dt = positive_scalar(dt, "dt", "give the sampling time in the unit of the records")
        known = not isinstance(self.dt, Tracer) and not isinstance(linear.dt, Tracer)
        if known and abs(float(linear.dt) - float(self.dt)) > 1e-3 * float(self.dt):
            fix = "pass `dt=linear.dt`, or estimate the linear model at this sampling time"
            raise invalid("linear", f"a sampling time of {float(linear.dt):.6g}", f"dt = {float(self.dt):.6g}", fix)
        self.f = zero_network(n + m, n, width, depth, activation, kf) if width else None
        self.g = zero_network(n + m, p, width, depth, activation, kg) if width and has_output_network else None

    def step(self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"] | None) -> Float[Array, " state"]:
        """The state one sample later."""
        linear = self.A @ x if u is None else self.A @ x + self.B @ u
        return linear if self.f is None else linear + self.f(joined(x, u))

    def output(
        self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"] | None
    ) -> Float[Array, " output"]:
        """The output of this sample."""
        linear = self.C @ x if u is None else self.C @ x + self.D @ u
        return linear if self.g is None else linear + self.g(joined(x, u))

    def input_shape(self) -> tuple[int, ...] | None:
        """`(input,)`; None without inputs."""
        return (self.B.shape[1],) if self.B.shape[1] else None
