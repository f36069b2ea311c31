"""Recurrent networks as systems: their hidden state is the state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from sciml.core import invalid, wrong_type

from .._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from .._parameters import positive_scalar
from ._networks import joined


class ElmanCell(eqx.Module):
    """`x⁺ = tanh(W [u, x] + b)`, the plain recurrent cell, with the interface of `equinox.nn.GRUCell`.

    Source: Elman (1990), Finding structure in time, DOI 10.1207/s15516709cog1402_1.
    """

    layer: eqx.nn.Linear
    hidden_size: int = eqx.field(static=True)

    def __init__(self, input_size: int, hidden_size: int, *, key: PRNGKeyArray):
        """Sizes of input and state, and the key of the initial weights."""
        self.layer = eqx.nn.Linear(input_size + hidden_size, hidden_size, key=key)
        self.hidden_size = hidden_size

    @property
    def input_size(self) -> int:
        """The number of inputs, as of `equinox.nn.GRUCell`."""
        return self.layer.in_features - self.hidden_size  # pyright: ignore[reportOperatorIssue]

    def __call__(self, u: Float[Array, " input"], x: Float[Array, " state"]) -> Float[Array, " state"]:
        """The next hidden state."""
        return jnp.tanh(self.layer(jnp.concatenate([u, x])))


class Recurrent(AbstractDiscreteSystem):
    """`x⁺ = cell(u, x)`, `y = W x + b`: a recurrent network, such as a GRU, as a system in discrete time.

    Choose it for long sequences with gates; with few parameters `StateSpace` is usually better, because it starts at a
    linear model.

    Args:
        cell: `equinox.nn.GRUCell`, `ElmanCell`, or any module `(u, x) -> x⁺` with one array of state.
        output_size: number of outputs.
        dt: sampling time in the unit of the records.
        state_size: of the cell's state; None for its `hidden_size`.
        key: of the readout's weights.

    Raises:
        ValueError: a cell without `hidden_size`, and no `state_size`.
        TypeError: `equinox.nn.LSTMCell`, whose state is two arrays.

    Source: Cho et al. (2014), arXiv:1406.1078, for the GRU.
    """

    cell: Any
    readout: eqx.nn.Linear
    dt: Float[Array, ""]

    def __init__(self, cell: Any, output_size: int, *, dt: ArrayLike, state_size: int | None = None, key: PRNGKeyArray):
        if isinstance(cell, eqx.nn.LSTMCell):
            fix = "take `equinox.nn.GRUCell`, or wrap it in a module that joins its two arrays"
            raise wrong_type("cell", "an LSTMCell", "a cell `(u, x) -> x⁺` with one array of state", fix)
        state = getattr(cell, "hidden_size", None) if state_size is None else state_size
        if state is None:
            got = f"a {type(cell).__name__} without `hidden_size`"
            raise invalid("cell", got, "a cell whose size is known", "pass `state_size=`")
        self.cell = cell
        self.readout = eqx.nn.Linear(state, output_size, key=key)
        self.dt = positive_scalar(dt, "dt", "give the sampling time in the unit of the records")

    def input_shape(self) -> tuple[int, ...] | None:
        """`(input,)` where the cell has an `input_size`."""
        size = getattr(self.cell, "input_size", None)
        return None if size is None else (size,)

    def step(self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"]) -> Float[Array, " state"]:
        """The hidden state one sample later."""
        return self.cell(u, x)

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " output"]:
        """The readout of the hidden state; the input reaches it one sample later."""
        return self.readout(x)


class LiquidTimeConstant(AbstractContinuousSystem):
    """`dx/dt = (-(1 + s) x + s a)/τ`, `s = σ(W [x, u] + b)`, `y = V x + c`: time constants that depend on the input.

    The state stays between 0 and `a` (entry by entry) once it is there, whatever the input.

    Source: Hasani et al. (2021), Liquid time-constant networks, equation (1) and theorem 2, arXiv:2006.04439.
    """

    gate: eqx.nn.Linear
    log_tau: Float[Array, " state"]
    target: Float[Array, " state"]
    readout: eqx.nn.Linear

    def __init__(self, state_size: int, input_size: int, output_size: int, *, tau: ArrayLike = 1.0, key: PRNGKeyArray):
        """Args:
        state_size, input_size, output_size: numbers of channels.
        tau: first guess of the time constants, in the unit of time, > 0.
        key: of the initial weights.

        Raises:
            ValueError: (outside `jit`) `tau` is not positive.
        """
        kg, kr, kt = jr.split(key, 3)
        self.gate = eqx.nn.Linear(state_size + input_size, state_size, key=kg)
        self.readout = eqx.nn.Linear(state_size, output_size, key=kr)
        self.log_tau = jnp.full(
            (state_size,), jnp.log(positive_scalar(tau, "tau", "guess a time constant of the plant"))
        )
        self.target = jr.normal(kt, (state_size,))

    def vector_field(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " state"]:
        """The derivative of the hidden state."""
        s = jax.nn.sigmoid(self.gate(joined(x, u)))
        rate = jnp.exp(-self.log_tau)
        return rate * (-(1 + s) * x + s * self.target)

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " output"]:
        """The readout of the hidden state."""
        return self.readout(x)

    def input_shape(self) -> tuple[int, ...] | None:
        """`(input,)`; None without inputs."""
        size = int(self.gate.in_features) - self.target.size
        return (size,) if size else None
