"""Networks that are convex in their input."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from ._checks import at_least


class InputConvexMLP(eqx.Module):
    """`z_1 = σ(W_0 x + b_0)`, `z_{i+1} = σ(U_i z_i + W_i x + b_i)`, `y = U z + W x + b`, `U >= 0`: convex in `x`.

    Choose it for learned costs that must stay easy to minimise, and inside `PositiveDefiniteNet` for Lyapunov
    functions. It is convex because nonnegative sums and nondecreasing convex functions of convex functions are.
    `U = softplus(raw)/n`, with `n` the units of the layer below.

    Gradient: as smooth as `σ`.

    Source: B. Amos, L. Xu & J. Z. Kolter (2017), *Input Convex Neural Networks*, ICML, equation 2 (fully convex);
    J. Z. Kolter & G. Manek (2019), *Learning Stable Deep Dynamics Models*, NeurIPS, equation 11.

    Examples:
        ```python
        net = sciml.nn.InputConvexMLP(2, 1, width=8, depth=2, key=jax.random.key(0))
        a, b = jnp.array([1.0, -2.0]), jnp.array([-3.0, 0.5])
        assert net((a + b) / 2)[0] <= (net(a) + net(b))[0] / 2 + 1e-5
        ```
    """

    direct: tuple[eqx.nn.Linear, ...]
    """`W_i`, `b_i`: from the input to each layer, of any sign."""
    raw: tuple[Float[Array, "above below"], ...]
    """`U_i` before the softplus."""
    activation: Callable

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int,
        depth: int,
        activation: Callable = jax.nn.softplus,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: entries of the input, >= 1.
            out_size: entries of the output, >= 1.
            width: units of each hidden layer, >= 1.
            depth: number of hidden layers, >= 1.
            activation: `σ`, convex and nondecreasing, such as `jax.nn.softplus`, which is smooth, or `jax.nn.relu`.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: a size below 1, or an activation that is not convex or not nondecreasing on [-10, 10].
            TypeError: `key` is none.
        """
        for argument, got in (("in_size", in_size), ("out_size", out_size), ("width", width), ("depth", depth)):
            at_least(argument, got, 1)
        check_key(key)
        _check_activation(activation)
        sizes = (*[width] * depth, out_size)
        keys = jr.split(key, (2, depth + 1))
        self.direct = tuple(eqx.nn.Linear(in_size, n, key=k) for n, k in zip(sizes, keys[0], strict=True))
        self.raw = tuple(jr.normal(k, (n, width)) for n, k in zip(sizes[1:], keys[1], strict=False))
        self.activation = activation

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " out"]:
        """The output for one instance; `key` is not used."""
        y = self.direct[0](x)
        for raw, direct in zip(self.raw, self.direct[1:], strict=True):
            y = jax.nn.softplus(raw) @ self.activation(y) / raw.shape[1] + direct(x)
        return y


def _check_activation(activation: Callable) -> None:
    with jax.ensure_compile_time_eval():
        values = np.asarray(jax.vmap(activation)(jnp.linspace(-10.0, 10.0, 401)), dtype=float)
    slack = 1e-5 * (1 + np.max(np.abs(values)))  # float32 values are good to some 1e-7
    if not (np.all(np.diff(values) >= -slack) and np.all(np.diff(values, 2) >= -slack)):
        name = getattr(activation, "__name__", repr(activation))
        raise invalid("activation", name, "a convex, nondecreasing function", "use `jax.nn.softplus` or `jax.nn.relu`")
