"""Block models: a linear system between static nonlinearities."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._abstract import AbstractDiscreteSystem
from .._linear import LinearDiscrete
from ._networks import zero_network


class Residual(eqx.Module):
    """`v + N(v)`: a static nonlinearity that starts as the identity.

    Args:
        size: channels in and out.
        width, depth: of the hidden layers.
        activation: of the hidden layers.
        key: of the initial weights.
    """

    network: eqx.nn.MLP

    def __init__(
        self,
        size: int,
        *,
        width: int = 8,
        depth: int = 1,
        activation: Callable[[Array], Array] = jax.nn.tanh,
        key: PRNGKeyArray,
    ):
        self.network = zero_network(size, size, width, depth, activation, key)

    def __call__(self, v: Float[Array, " channel"]) -> Float[Array, " channel"]:
        """The signal after the nonlinearity."""
        return v + self.network(v)


class HammersteinWiener(AbstractDiscreteSystem):
    """`x⁺ = A x + B b(u)`, `y = a(C x + D b(u))`: static nonlinearities before and after a linear system.

    With `input_nonlinearity` alone it is a Hammerstein model (a nonlinear actuator), with `output_nonlinearity` alone a
    Wiener model (a nonlinear sensor). Choose it where the nonlinearity is static: it needs far fewer parameters than a
    general state space.

    Args:
        linear: the linear system, for instance from `training.subspace`.
        input_nonlinearity: `b`, from inputs to the linear system's inputs, such as `Residual`; None for none.
        output_nonlinearity: `a`, from the linear system's outputs to the outputs; None for none.

    Source: Giri & Bai (2010), Block-oriented nonlinear system identification, chapter 1, DOI 10.1007/978-1-84996-513-2.
    """

    linear: LinearDiscrete
    input_nonlinearity: Callable[[Any], Any] | None
    output_nonlinearity: Callable[[Any], Any] | None
    dt: Float[Array, ""]

    def __init__(
        self,
        linear: LinearDiscrete,
        *,
        input_nonlinearity: Callable[[Any], Any] | None = None,
        output_nonlinearity: Callable[[Any], Any] | None = None,
    ):
        self.linear, self.dt = linear, linear.dt
        self.input_nonlinearity, self.output_nonlinearity = input_nonlinearity, output_nonlinearity

    def step(self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"]) -> Float[Array, " state"]:
        """The state one sample later."""
        return self.linear.step(t, x, u if self.input_nonlinearity is None else self.input_nonlinearity(u))

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"]) -> Float[Array, " output"]:
        """The output of this sample."""
        v = self.linear.output(t, x, u if self.input_nonlinearity is None else self.input_nonlinearity(u))
        return v if self.output_nonlinearity is None else self.output_nonlinearity(v)

    def input_shape(self) -> tuple[int, ...] | None:
        """That of the linear system, where inputs reach it as they are."""
        return self.linear.input_shape() if self.input_nonlinearity is None else None
