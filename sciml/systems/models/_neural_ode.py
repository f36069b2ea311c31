"""The neural ordinary differential equation."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._abstract import AbstractContinuousSystem
from ._networks import joined


class NeuralODE(AbstractContinuousSystem):
    """`dx/dt = rate · N([x, u])`: a vector field that is a multilayer perceptron, autonomous or with inputs.

    Choose it where the state is measured and little is known; `GreyBox` where part of the physics is known,
    `StateSpace` where the measured outputs are fewer than the states. The output is the state. Tanh keeps the field
    smooth, so that fixed-step methods keep their order; scale the data (`scaled`), and give `rate` the order of the
    fastest time constant's inverse, so that the network's outputs are of order one.

    Examples:
        ```python
        from sciml.systems.models import NeuralODE

        model = NeuralODE(state_size=2, input_size=1, key=jax.random.key(0))
        data = sciml.sources.record(y=jnp.zeros((5, 2)), u=jnp.ones(5), t=[0.0, 0.1, 0.3, 0.4, 0.6])
        assert sciml.simulation.free_run(model, data).y.shape == (5, 2)
        ```

    Source: Chen et al. (2018), Neural ordinary differential equations, equation (1), arXiv:1806.07366.
    """

    network: eqx.nn.MLP
    rate: float
    """Constant factor, 1 / unit of time; not trained."""
    input_size: int = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        input_size: int = 0,
        *,
        width: int = 32,
        depth: int = 2,
        activation: Callable[[Array], Array] = jax.nn.tanh,
        rate: float = 1.0,
        key: PRNGKeyArray,
    ):
        """Args:
        state_size, input_size: numbers of states and inputs; 0 inputs for an autonomous system.
        width, depth: of the hidden layers.
        activation: of the hidden layers.
        rate: scale of the derivatives, 1 / unit of time.
        key: of the initial weights.
        """
        self.network = eqx.nn.MLP(state_size + input_size, state_size, width, depth, activation, key=key)
        self.rate, self.input_size = float(rate), input_size

    def vector_field(
        self, t: ArrayLike, x: Float[Array, " state"], u: Float[Array, " input"] | None
    ) -> Float[Array, " state"]:
        """The derivative of the state."""
        return self.rate * self.network(joined(x, u))

    def input_shape(self) -> tuple[int, ...] | None:
        """`(input,)`; None for an autonomous system."""
        return (self.input_size,) if self.input_size else None
