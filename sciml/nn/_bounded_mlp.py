"""A network whose output stays inside bounds."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from ._squash import bounded, check_bounds, constant, numbers


class BoundedMLP(eqx.Module):
    """A multilayer perceptron `u = squash(mlp((v - center) / scale))` with `lower <= u <= upper`.

    Choose it for the policy of an actuator that saturates; for a map between records, choose `TreeMLP`. `v` is the
    concatenation of all leaves of all arguments, so that the network itself is a policy `(x, w) -> u`.

    The bounds, `center` and `scale` are stored as Python floats: they are saved with the network, and no optimiser
    changes them, not even by weight decay.

    Gradient: smooth in the weights and in the input; none with respect to bounds, `center` and `scale`. It vanishes
    where an output saturates.

    Examples:
        ```python
        net = sciml.nn.BoundedMLP(3, 1, lower=0.0, upper=6.0, width=8, depth=2, key=jax.random.key(0))
        u = net(jnp.array([1e3, -1e3, 0.0]))
        assert u.shape == (1,) and 0.0 <= u[0] <= 6.0
        ```
    """

    mlp: eqx.nn.MLP
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    center: tuple[float, ...] | None
    scale: tuple[float, ...] | None

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        lower: Any,
        upper: Any,
        width: int,
        depth: int,
        activation: Callable = jax.nn.gelu,
        center: Any = None,
        scale: Any = None,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: number of entries over all arguments of a call, >= 1.
            out_size: number of outputs, >= 1.
            lower: lower bound, one number or a record of `out_size` entries; `-jnp.inf` where there is none.
            upper: upper bound, likewise, `upper >= lower`; `jnp.inf` where there is none.
            width: units of each hidden layer, >= 1.
            depth: number of hidden layers, >= 0.
            activation: function between the layers; smooth by default, since policies are differentiated twice by
                second-order methods.
            center: subtracted from the input, one number or a record of `in_size` entries; None for zero.
            scale: divides the input, likewise, > 0; None for one.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: a size below its minimum, `lower > upper`, `scale <= 0`, or a wrong number of entries.
            TypeError: `key` is none.
        """
        for argument, got, least in (
            ("in_size", in_size, 1),
            ("out_size", out_size, 1),
            ("width", width, 1),
            ("depth", depth, 0),
        ):
            if got < least:
                raise invalid(argument, got, f"an integer >= {least}", "give the number of entries, units or layers")
        self.lower, self.upper = numbers(lower, out_size, "lower"), numbers(upper, out_size, "upper")
        check_bounds(self.lower, self.upper)
        self.center = None if center is None else numbers(center, in_size, "center")
        self.scale = None if scale is None else numbers(scale, in_size, "scale")
        if self.scale is not None and min(self.scale) <= 0:
            raise invalid("scale", min(self.scale), "numbers > 0", "give 1 to a constant input")
        check_key(key)
        self.mlp = eqx.nn.MLP(in_size, out_size, width, depth, activation, key=key)

    def __call__(self, *records: Any) -> Float[Array, " out"]:
        """The bounded output for one instance.

        Args:
            *records: numbers, arrays or records with `in_size` entries in all, cast to the dtype of the weights.

        Raises:
            ValueError: the number of entries is not `in_size`.
        """
        dtype = self.mlp.layers[-1].weight.dtype
        leaves = [jnp.ravel(jnp.asarray(leaf, dtype=dtype)) for leaf in jtu.tree_leaves(records)]
        size = sum(leaf.size for leaf in leaves)
        if size != self.mlp.in_size:
            raise invalid(
                "records",
                f"{size} entries in leaves of sizes {[leaf.size for leaf in leaves]}",
                f"in_size = {self.mlp.in_size} entries in all",
                "build the network with this in_size, or `jax.vmap` it over a batch",
            )
        v = jnp.concatenate(leaves)
        if self.center is not None:
            v = v - constant(self.center, v)
        if self.scale is not None:
            v = v / constant(self.scale, v)
        y = self.mlp(v)
        return bounded(y, self.lower, self.upper)
