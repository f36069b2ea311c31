"""The abstract classes of dynamical systems."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float


class AbstractContinuousSystem(eqx.Module):
    """A system in continuous time: `dx/dt = f(t, x, u)`, `y = h(t, x, u)`.

    Implement `vector_field`, and override `output` if the measurement is not the state itself. Parameters are fields:
    the gradient with respect to a system is the gradient with respect to its parameters.
    """

    @abstractmethod
    def vector_field(self, t: Any, x: Any, u: Any) -> Any:
        """`dx/dt` at time `t`, state `x` and input `u` (None for a system without input); shaped like `x`."""

    def output(self, t: Any, x: Any, u: Any) -> Any:
        """The measured output; the state itself by default."""
        return x

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input array `u`, used to check policies; None if it is unknown."""
        return None


class AbstractDiscreteSystem(eqx.Module):
    """A system in discrete time: `x[k+1] = step(t[k], x[k], u[k])`, with `t[k+1] = t[k] + dt`."""

    dt: eqx.AbstractVar[Float[Array, ""]]
    """Sampling time, in the unit of `t`."""

    @abstractmethod
    def step(self, t: Any, x: Any, u: Any) -> Any:
        """The state one sampling time later; shaped like `x`."""

    def output(self, t: Any, x: Any, u: Any) -> Any:
        """The measured output; the state itself by default."""
        return x

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input array `u`, used to check policies; None if it is unknown."""
        return None
