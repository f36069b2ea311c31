"""Linear models of nonlinear systems at a point."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from sciml.core import invalid, wrong_type

from ._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from ._linear import LinearContinuous, LinearDiscrete
from ._parameters import parameter


def linearise(
    system: AbstractContinuousSystem | AbstractDiscreteSystem, x: ArrayLike, u: ArrayLike, *, t: ArrayLike = 0.0
) -> LinearContinuous | LinearDiscrete:
    """The linear system of small deviations from `(x, u)`: `A = ∂f/∂x`, `B = ∂f/∂u`, `C = ∂h/∂x`, `D = ∂h/∂u`.

    At an equilibrium, `f(x, u) = 0` or `step(x, u) = x`, it describes the deviations from it; elsewhere those from the
    trajectory through `(x, u)`. To have a model in discrete time, linearise what `discretise` returns.

    Args:
        system: a continuous or a discrete system whose states, inputs and outputs are vectors.
        x: state `(x,)`.
        u: input `(u,)`.
        t: time, for systems that depend on it.

    Returns:
        A `LinearContinuous`, or a `LinearDiscrete` with the sampling time of the system; a linear system comes back
        with its own matrices.

    Raises:
        ValueError: a state, an input or an output that is no vector, or one that the system does not take.
        TypeError: an object that is no system.

    Gradient: that of the Jacobians, in both modes, by the parameters of the system, `x` and `u`.

    Examples:
        ```python
        plant = sciml.systems.zoo.VanDerPol()
        model = sciml.systems.linearise(plant, jnp.zeros(2), jnp.zeros(1))
        assert jnp.allclose(model.A, jnp.array([[0.0, 1.0], [-1.0, 1.0]]))
        ```
    """
    if not isinstance(system, AbstractContinuousSystem | AbstractDiscreteSystem):
        fix = "pass an instance of a system, such as `systems.zoo.VanDerPol()`"
        raise wrong_type("system", repr(system), "a continuous or a discrete system", fix)
    x, u = parameter(x), parameter(u)
    for name, value in (("x", x), ("u", u)):
        if value.ndim != 1:
            raise invalid(name, f"shape {value.shape}", "a vector", "write `jnp.array([...])`, one number per entry")
    dtype = jnp.result_type(x, u)
    x, u, t = x.astype(dtype), u.astype(dtype), jnp.asarray(t).astype(dtype)
    try:
        (A, B), (C, D) = _slopes(system, t, x, u)
    except (TypeError, ValueError, IndexError) as error:
        got = f"a state {x.shape} and an input {u.shape}, on which {type(system).__name__} raises: {error}"
        raise invalid(
            "x, u", got, "a state and an input of the system", "give one entry per state and input"
        ) from error
    _check_vectors(system, x, A, C)
    if isinstance(system, AbstractDiscreteSystem):
        return LinearDiscrete(A, B, C, D, dt=system.dt)
    return LinearContinuous(A, B, C, D)


@eqx.filter_jit
def _slopes(system: Any, t: Array, x: Array, u: Array) -> Any:
    """The Jacobians of the right-hand side and of the output, by state and input."""
    change = system.vector_field if isinstance(system, AbstractContinuousSystem) else system.step
    both = lambda f: jax.jacfwd(lambda x, u: f(t, x, u), argnums=(0, 1))(x, u)
    return both(change), both(system.output)


def _check_vectors(system: object, x: Array, A: Array, C: Array) -> None:
    if getattr(A, "shape", None) != (x.size, x.size):
        got, fix = f"a state {x.shape} and a change of shape {getattr(A, 'shape', A)[:-1]}", "one entry per state"
        raise invalid("x", got, f"a state of {type(system).__name__}", f"give {fix}")
    if getattr(C, "ndim", 0) != 2:
        raise invalid("system", "an output that is no vector", "outputs (y,)", "let `output` return a vector")
