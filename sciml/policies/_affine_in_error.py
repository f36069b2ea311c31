"""A policy that is exact at the set point: a regulator with a learned gain."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from sciml.core import as_floats, invalid, stop_gradient
from sciml.nn import TreeMLP
from sciml.nn._squash import check_bounds, constant, numbers

from ._seen import Seen


class AffineInError(eqx.Module):
    """The policy `u = clip(u_s - (K + D_u N(x, w) D_x⁻¹) (x - x_s), lower, upper)`, with a network `N` in its gain.

    At the set point `(x_s, u_s) = target(w)` the input is `u_s`, whatever the weights: training cannot lose the steady
    state, which a network that returns `u` only meets approximately. Before training `N = 0`: the policy is the
    regulator with the gain `K`, such as that of `lqr`, and training starts from its loop. `fit` trains `K` and `N`.

    Gradient: in both modes; none where an input is clipped, and none by what `target` holds.

    Examples:
        ```python
        mass = sciml.systems.discretise(sciml.systems.zoo.double_integrator(), sciml.systems.Exact(), dt=0.1)
        start = sciml.policies.lqr(mass, Q=1.0, R=0.1)
        w = jnp.array([2.0, 0.0])  # position and speed
        policy = sciml.policies.AffineInError(start.gain, start.target, w, lower=-1.0, upper=1.0, key=jax.random.key(0))
        x = jnp.array([1.9, 0.0])
        assert jnp.allclose(policy(x, w), start(x, w)) and jnp.allclose(policy(w, w), 0.0, atol=1e-6)
        ```
    """

    gain: Float[Array, "u x"]
    """`K`."""
    correction: TreeMLP
    """`N`."""
    target: Callable[[Any], Any]
    seen: Seen
    x_scale: tuple[float, ...]
    """The diagonal of `D_x`: the scale of the state."""
    u_scale: tuple[float, ...]
    """The diagonal of `D_u`: half of the range of each input, one where it is not bounded."""
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __init__(
        self,
        gain: ArrayLike,
        target: Callable[[Any], Any],
        w: Any,
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
            gain: `K`, shape `(u, x)`, such as `lqr(plant, Q, R).gain`; zeros for none.
            target: `w -> (x_s, u_s)`, the state and the input of the set point: `lqr(plant, Q, R).target`, or the
                equilibrium of a nonlinear plant. Of a window of `previews` take the entry to be exact for.
            w: the exogenous signal of one step, an example (values are not used); None for none.
            lower: least input, one number for all or one each; minus infinity for none.
            upper: largest input, likewise.
            width, depth, activation: of the network, as for `NeuralPolicy`.
            center: as for `NeuralPolicy`, with `x` of shape `(x,)`.
            scale: likewise.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: a gain that is no matrix; as `NeuralPolicy`.
            TypeError: `key` is none.
        """
        self.gain, self.target = as_floats(gain, "gain"), target
        if self.gain.ndim != 2:
            fix = "give a row for each input and a column for each state"
            raise invalid("gain", f"shape {self.gain.shape}", "a matrix, (inputs, states)", fix)
        inputs, states = self.gain.shape
        self.lower, self.upper = numbers(lower, inputs, "lower"), numbers(upper, inputs, "upper")
        check_bounds(self.lower, self.upper)
        half = [(high - low) / 2 for low, high in zip(self.lower, self.upper, strict=True)]
        self.u_scale = tuple(h if 0 < h < np.inf else 1.0 for h in half)
        self.seen = Seen(np.zeros(states), w, center, scale)
        self.x_scale = (1.0,) * states if self.seen.scale is None else self.seen.scale[:states]
        like = np.zeros(self.seen.size), np.zeros((inputs, states))
        net = TreeMLP(*like, width=width, depth=depth, activation=activation, key=key)
        last = lambda net: (net.mlp.mlp.layers[-1].weight, net.mlp.mlp.layers[-1].bias)
        self.correction = eqx.tree_at(last, net, replace_fn=jnp.zeros_like)

    def __call__(self, x: Float[Array, " x"], w: Any) -> Float[Array, " u"]:
        """The input for a state and an exogenous signal.

        Raises:
            ValueError: another structure or other shapes than those it was built for, also of what `target` returns.
        """
        v = self.seen(x, w, self.gain)
        x_s, u_s = (jnp.asarray(part) for part in stop_gradient(self.target)(w))
        (inputs, states), shapes = self.gain.shape, (x_s.shape, u_s.shape)
        if shapes != ((states,), (inputs,)):
            expected = f"({states},) and ({inputs},), a state and an input"
            raise invalid("target", f"shapes {shapes[0]} and {shapes[1]}", expected, "return `x_s, u_s` as vectors")
        error = x - x_s
        learned = constant(self.u_scale, u_s) * (self.correction(v) @ (error / constant(self.x_scale, error)))
        wanted = u_s - self.gain @ error - learned
        return jnp.clip(wanted, constant(self.lower, wanted), constant(self.upper, wanted))
