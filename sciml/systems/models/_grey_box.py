"""Known equations with unknown parameters, and with a network where they are incomplete."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem


class GreyBox(AbstractContinuousSystem):
    """`dx/dt = f(θ, N, t, x, u)` with named parameters `θ` and, where physics ends, a network `N`.

    Without a network it is a grey-box model, with one a universal differential equation. Wrap parameters in
    `training.Bounded`, `Positive` or `Ranged` to keep them in their physical range. A network beside a parameter may
    absorb it: `metrics` judges from the fit whether the parameter can be identified.

    Args:
        function: `(parameters, network, t, x, u) -> dx/dt`, a plain function.
        parameters: a record (NamedTuple, dictionary) of numbers or wrapped numbers; names appear in reports.
        network: any module, or None.
        measure: `(parameters, t, x, u) -> y`; None for the state itself.

    Examples:
        ```python
        from sciml.systems.models import GreyBox

        def brusselator(p, network, t, x, u):
            reaction = network(x)[0]
            return jnp.stack([p["a"] + reaction - (p["b"] + 1) * x[0], p["b"] * x[0] - reaction])

        network = lambda x: x[:1] ** 2 * x[1:]
        model = GreyBox(brusselator, {"a": jnp.array(1.0), "b": jnp.array(3.0)}, network)
        assert jnp.allclose(model.vector_field(0.0, jnp.array([1.0, 3.0]), None), 0.0)  # the fixed point (a, b / a)
        ```

    Source: Rackauckas et al. (2020), Universal differential equations for scientific machine learning,
    arXiv:2001.04385.
    """

    function: Callable[..., Any] = eqx.field(static=True)
    parameters: Any
    network: Any = None
    measure: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def vector_field(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " state"]:
        """The derivative of the state."""
        return self.function(self.parameters, self.network, t, x, u)

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " output"]:
        """The measured output."""
        return x if self.measure is None else self.measure(self.parameters, t, x, u)
