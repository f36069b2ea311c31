"""What a dynamical system is."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float


class AbstractContinuousSystem(eqx.Module):
    """A system in continuous time: `dx/dt = f(t, x, u)`, `y = h(t, x, u)`.

    Implement `vector_field`; override `output` where the state is not what is measured. The parameters are the
    fields, so that a gradient with respect to the system is a gradient with respect to them.
    """

    @abstractmethod
    def vector_field(self, t: Any, x: Any, u: Any) -> Any:
        """`dx/dt` at time `t`, state `x` and input `u` (None for a system without input); shaped like `x`."""

    def output(self, t: Any, x: Any, u: Any) -> Any:
        """What is measured; the state itself unless overridden."""
        return x

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of `u` where it is one array of known shape, so that a wrong policy is named; None if unknown."""
        return None


class AbstractDiscreteSystem(eqx.Module):
    """A system in discrete time: `x[k+1] = step(t[k], x[k], u[k])`, with `t[k+1] = t[k] + dt`."""

    dt: eqx.AbstractVar[Float[Array, ""]]
    """Sampling time, in the unit of `t`."""

    @abstractmethod
    def step(self, t: Any, x: Any, u: Any) -> Any:
        """The state one sampling time later; shaped like `x`."""

    def output(self, t: Any, x: Any, u: Any) -> Any:
        """What is measured; the state itself unless overridden."""
        return x

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of `u` where it is one array of known shape, so that a wrong policy is named; None if unknown."""
        return None
