"""Kolmogorov-Arnold networks: a learned function of one variable on every edge."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from ._bsplines import basis, refinement
from ._checks import at_least
from ._squash import constant, numbers


class KANLayer(eqx.Module):
    """`y_o = Σ_i [a_oi σ(x_i) + Σ_b c_oib B_b(x_i)]`, with B-splines `B_b` on [-1, 1]; the layer of `KAN`.

    All edges share the splines, so that a batch of inputs is one matrix product.

    Gradient: `degree - 1` times continuously differentiable in the input, linear in the parameters.

    Examples:
        ```python
        layer = sciml.nn.KANLayer(2, 3, grid=5, degree=3, key=jax.random.key(0))
        assert layer(jnp.array([0.2, -0.7])).shape == (3,) and layer.coefficients.shape == (3, 2, 8)
        ```
    """

    base: Float[Array, "out in"]
    coefficients: Float[Array, "out in basis"]
    activation: Callable
    grid: int = eqx.field(static=True)
    degree: int = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        grid: int,
        degree: int,
        activation: Callable = jax.nn.silu,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: entries of the input, >= 1.
            out_size: entries of the output, >= 1.
            grid: intervals into which [-1, 1] is cut, >= 1.
            degree: degree of the splines, >= 1.
            activation: `σ`, which alone acts far beyond [-1, 1].
            key: source of the initial parameters: `a` normal with variance 1/`in_size`, `c` a tenth of that size.

        Raises:
            ValueError: a number below 1.
            TypeError: `key` is none.
        """
        sizes = (("in_size", in_size), ("out_size", out_size), ("grid", grid), ("degree", degree))
        for argument, got in sizes:
            at_least(argument, got, 1)
        check_key(key)
        draws = in_size**-0.5 * jr.normal(key, (out_size, in_size, 1 + grid + degree))
        self.base, self.coefficients = draws[..., 0], 0.1 * draws[..., 1:]
        self.activation, self.grid, self.degree = activation, grid, degree

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " out"]:
        """The output for one instance; `key` is not used."""
        splines = basis(x, self.grid, self.degree)
        return self.base @ self.activation(x) + jnp.tensordot(self.coefficients, splines, 2)

    def refined(self, factor: int) -> "KANLayer":
        """The same function on [-1, 1], with `factor` times as many intervals.

        Args:
            factor: >= 1.

        Raises:
            ValueError: `factor < 1`.
        """
        at_least("factor", factor, 1)
        to_finer = refinement(self.grid, self.grid * factor, self.degree)
        finer = self.coefficients @ jnp.asarray(to_finer.T, dtype=self.coefficients.dtype)
        out_size, in_size = self.base.shape
        options = {"grid": self.grid * factor, "degree": self.degree, "activation": self.activation}
        layer = eqx.filter_eval_shape(lambda key: KANLayer(in_size, out_size, **options, key=key), jr.key(0))
        return eqx.tree_at(lambda layer: (layer.base, layer.coefficients), layer, (self.base, finer))


class KAN(eqx.Module):
    """A Kolmogorov-Arnold network: layers that sum learned functions of single variables, splines plus a smooth one.

    Choose it for smooth functions of few variables that are sums and compositions of simpler ones, and where its edges
    are to be looked at. An `eqx.nn.MLP` with as many parameters takes less time. For functions with detail in all of a
    domain, put KANs into a `FiniteBasis`. Inputs are mapped from `[lower, upper]` to [-1, 1]. Beyond, splines fade to
    zero, and so they do where hidden values leave [-1, 1].

    Train on a coarse grid first, then `refined(2)` and go on: the function stays, and gets new parameters.

    `lower` and `upper` are Python floats: they are saved with the network, and no optimiser changes them.

    Gradient: `degree - 1` times continuously differentiable in the input, smooth in the parameters.

    Source: Z. Liu et al. (2024), *KAN: Kolmogorov-Arnold Networks*, arXiv:2404.19756, equations 2.10 and 2.16, without
    its scale of the splines, which the coefficients contain, and with grids that do not move.

    Examples:
        ```python
        net = sciml.nn.KAN(2, 1, width=5, depth=1, lower=0.0, upper=(1.0, 2.0), key=jax.random.key(0))
        x = jnp.array([0.3, 1.1])
        assert jnp.allclose(net(x), net.refined(2)(x), atol=1e-5)
        ```
    """

    layers: tuple[KANLayer, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int,
        depth: int,
        grid: int = 5,
        degree: int = 3,
        lower: Any = -1.0,
        upper: Any = 1.0,
        activation: Callable = jax.nn.silu,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: entries of the input, >= 1.
            out_size: entries of the output, >= 1.
            width: units of each hidden layer, >= 1; a few are enough.
            depth: number of hidden layers, >= 0.
            grid: intervals of the splines, >= 1.
            degree: degree of the splines, >= 1.
            lower: lower end of the domain, one number or one for each input, finite.
            upper: upper end, likewise, > `lower`.
            activation: the smooth function beside the splines.
            key: source of the initial parameters, which have the default floating-point dtype.

        Raises:
            ValueError: a size below its minimum, or a domain that is infinite or empty.
            TypeError: `key` is none.
        """
        at_least("in_size", in_size, 1)
        at_least("out_size", out_size, 1)
        at_least("width", width, 1)
        at_least("depth", depth, 0)
        self.lower, self.upper = domain(lower, upper, in_size)
        check_key(key)
        sizes = (in_size, *[width] * depth, out_size)
        options = {"grid": grid, "degree": degree, "activation": activation}
        keys = jr.split(key, depth + 1)
        self.layers = tuple(KANLayer(n, m, **options, key=k) for n, m, k in zip(sizes, sizes[1:], keys, strict=False))

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " out"]:
        """The output for one instance; `key` is not used."""
        low, high = constant(self.lower, x), constant(self.upper, x)
        h = (2 * x - low - high) / (high - low)
        for layer in self.layers:
            h = layer(h)
        return h

    def refined(self, factor: int) -> "KAN":
        """The same function, while all its values stay in the domain and in [-1, 1], with finer splines.

        Args:
            factor: by which the number of intervals grows, >= 1.

        Raises:
            ValueError: `factor < 1`.
        """
        layers = tuple(layer.refined(factor) for layer in self.layers)
        return eqx.tree_at(lambda net: net.layers, self, layers)


def domain(lower: Any, upper: Any, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ends of a box as numbers, checked to be finite and apart."""
    low, high = numbers(lower, size, "lower"), numbers(upper, size, "upper")
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if not -jnp.inf < a < b < jnp.inf:
            got = f"lower {a} and upper {b} for entry {i}"
            raise invalid("lower", got, "finite lower < upper", "give the box in which the network is used")
    return low, high
