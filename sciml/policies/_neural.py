"""Neural policies: a feedforward one, and one with memory."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import AbstractPolicy, check_key, invalid
from sciml.nn import TreeMLP

from ._seen import Seen


class NeuralPolicy(eqx.Module):
    """The neural policy `u = squash(mlp(((x, w) - center) / scale))` with `lower <= u <= upper`, without memory.

    The policy of differentiable predictive control: train it by `fit` through `rollout`, on the loss
    `Penalty(along_trajectory(problem), decide=...)`. The bounds hold for all weights. It sees any record: a state, a
    reference, a window of `previews`.

    Gradient: smooth in weights and in what it sees; it vanishes where an input saturates. Bounds, `center` and `scale`
    are constants.

    Source: Drgoňa, Kiš, Tuor, Vrabie & Klaučo (2022), Differentiable predictive control, doi:
    10.1016/j.jprocont.2022.06.001.

    Examples:
        ```python
        x, window, u = jnp.zeros(2), jnp.zeros(5), jnp.zeros(1)
        policy = sciml.policies.NeuralPolicy(x, window, u, lower=-1.0, upper=1.0, scale=10.0, key=jax.random.key(0))
        mass = sciml.systems.discretise(sciml.systems.zoo.double_integrator(), sciml.systems.Exact(), dt=0.1)
        run = sciml.rollout(mass, policy, x, sciml.policies.previews(jnp.ones(20), 5))
        assert run.u.shape == (20, 1) and jnp.max(jnp.abs(run.u)) <= 1.0
        ```
    """

    seen: Seen
    net: TreeMLP

    def __init__(
        self,
        x: Any,
        w: Any,
        u: Any,
        *,
        lower: Any = -np.inf,
        upper: Any = np.inf,
        width: int = 32,
        depth: int = 2,
        activation: Callable = jax.nn.gelu,
        center: Any = None,
        scale: Any = None,
        key: PRNGKeyArray,
    ):
        """Args:
            x: what it sees of the state, an example (values are not used).
            w: the exogenous signal of one step, likewise; None for none.
            u: an input, likewise.
            lower: least input, one number or a record like `u`; `-jnp.inf` where there is none.
            upper: largest input, likewise.
            width: units of each hidden layer, >= 1.
            depth: number of hidden layers, >= 0.
            activation: function between the layers.
            center: subtracted from what it sees: one number, or a pair for `(x, w)`, whose leaves broadcast to those of
                `x` and `w`; None for zero. The middle of the range.
            scale: divides what it sees, likewise, > 0; None for one. Half of the range: networks learn slowly from
                numbers that are far from one.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: an empty record, a size below its minimum, `lower > upper`, `scale <= 0`, a wrong number of
                entries.
            TypeError: `key` is none.
        """
        self.seen = Seen(x, w, center, scale)
        self.net = TreeMLP(
            np.zeros(self.seen.size), u, width=width, depth=depth, activation=activation, lower=lower, upper=upper,
            key=key,
        )  # fmt: skip

    def __call__(self, x: Any, w: Any) -> Any:
        """The input for a state and an exogenous signal, in the dtype of the weights.

        Raises:
            ValueError: another structure or other shapes than those it was built for.
        """
        return self.net(self.seen(x, w, self.net.mlp.mlp.layers[0].weight))


class RecurrentPolicy(AbstractPolicy):
    """The neural policy with memory `h[k] = gru(((x, w) - center) / scale, h[k-1])`, `u = squash(W h[k] + b)`.

    Choose it where one look does not tell the state: with `rollout(..., observe=...)` it learns its own filter. Its
    memory starts at zero in each run. Where the state is seen, `NeuralPolicy` is cheaper and trains faster.

    Gradient: as for `NeuralPolicy`, through the memory.

    Source: Cho et al. (2014), arXiv:1406.1078, for the gated recurrent unit.

    Examples:
        ```python
        place, u = jnp.zeros(1), jnp.zeros(1)
        policy = sciml.policies.RecurrentPolicy(place, None, u, lower=-1.0, upper=1.0, key=jax.random.key(0))
        mass = sciml.systems.discretise(sciml.systems.zoo.double_integrator(), sciml.systems.Exact(), dt=0.1)
        run = sciml.rollout(mass, policy, jnp.ones(2), None, steps=20, observe=lambda x: x[:1])
        assert jnp.max(jnp.abs(run.u)) <= 1.0
        ```
    """

    seen: Seen
    cell: eqx.nn.GRUCell
    readout: TreeMLP

    def __init__(
        self,
        x: Any,
        w: Any,
        u: Any,
        *,
        lower: Any = -np.inf,
        upper: Any = np.inf,
        hidden: int = 16,
        center: Any = None,
        scale: Any = None,
        key: PRNGKeyArray,
    ):
        """Args:
            x: what it sees of the state, an example (values are not used).
            w: the exogenous signal of one step, likewise; None for none.
            u: an input, likewise.
            lower: least input, one number or a record like `u`; `-jnp.inf` where there is none.
            upper: largest input, likewise.
            hidden: entries of the memory, >= 1.
            center: as for `NeuralPolicy`.
            scale: as for `NeuralPolicy`.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: as `NeuralPolicy`; `hidden < 1`.
            TypeError: `key` is none.
        """
        check_key(key)
        if hidden < 1:
            raise invalid("hidden", hidden, "an integer >= 1", "give the number of entries of the memory")
        mine, yours = jr.split(key)
        self.seen = Seen(x, w, center, scale)
        self.cell = eqx.nn.GRUCell(self.seen.size, hidden, key=mine)
        self.readout = TreeMLP(np.zeros(hidden), u, width=1, depth=0, lower=lower, upper=upper, key=yours)

    def init(self, x0: Any, w: Any) -> Float[Array, " hidden"]:
        """A memory of zero."""
        return jnp.zeros(self.cell.hidden_size, self.cell.weight_hh.dtype)

    def step(
        self, state: Float[Array, " hidden"], x: Any, w: Any, *, key: PRNGKeyArray | None
    ) -> tuple[Any, Float[Array, " hidden"]]:
        """The input for what is seen and the exogenous signal, and the next memory.

        Raises:
            ValueError: another structure or other shapes than those it was built for.
        """
        state = self.cell(self.seen(x, w, self.cell.weight_hh), state)
        return self.readout(state), state
