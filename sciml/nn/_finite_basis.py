"""Networks on overlapping subdomains, added by smooth windows."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from ._checks import at_least
from ._kan import domain
from ._squash import constant


class FiniteBasis(eqx.Module):
    """`y = Σ_j w_j(x) N_j((x - μ_j)/σ_j)`: one small network for each overlapping box, added by windows that sum to 1.

    Choose it for functions with detail in all of a domain, and for physics-informed learning over long times: each
    network sees a simple piece, scaled to [-1, 1]. With `KAN` for `N_j` it is the finite-basis KAN, with
    `eqx.nn.MLP` the basis of an FBPINN. All networks are evaluated at every point, so that the cost is their number.

    Centres `μ_j` and half-widths `σ_j` follow from the stated domain, not from data: along each axis, `n` centres from
    end to end, `h` apart, and `σ = overlap h/2`. Windows are products over the axes of `((1 + cos(π s))/2)²`, with
    `s = (x - μ)/σ`, zero for `|s| > 1`, divided by their sum. Outside the domain the networks at the border continue.

    `lower` and `upper` are Python floats: they are saved with the network, and no optimiser changes them.

    Gradient: windows are three times continuously differentiable, for `overlap <= 2`; with more, the second derivative
    jumps at the ends of the domain.

    Source: A. A. Howard et al. (2024), *Finite basis Kolmogorov-Arnold networks*, arXiv:2406.19662;
    B. Moseley, A. Markham & T. Nissen-Meyer (2023), *Finite basis physics-informed neural networks*, Adv. Comput.
    Math. 49, 62.

    Examples:
        ```python
        piece = lambda key: sciml.nn.KAN(1, 1, width=5, depth=1, key=key)
        net = sciml.nn.FiniteBasis(piece, counts=(10,), lower=0.0, upper=2.0, key=jax.random.key(0))
        assert net(jnp.array([0.7])).shape == (1,)
        assert jnp.allclose(net.windows(jnp.array([0.7])).sum(), 1.0)
        ```
    """

    networks: Any
    """All `N_j`, stacked along a leading axis; the last axis of the domain varies fastest."""
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    counts: tuple[int, ...] = eqx.field(static=True)
    overlap: float = eqx.field(static=True)

    def __init__(
        self,
        make: Callable[[PRNGKeyArray], Callable],
        *,
        counts: tuple[int, ...],
        lower: Any,
        upper: Any,
        overlap: float = 1.9,
        key: PRNGKeyArray,
    ):
        """Args:
            make: from a key to one network on [-1, 1] in each axis.
            counts: number of boxes along each axis of the domain, >= 1 each.
            lower: lower end of the domain, one number or one for each axis, finite.
            upper: upper end, likewise, > `lower`.
            overlap: width of a window divided by the distance of centres, finite, > 1; up to 2, at most two windows per
                axis are positive at a point.
            key: source of the initial parameters, split among the networks.

        Raises:
            ValueError: no axis, a count below 1, an infinite or empty domain, or `overlap <= 1`.
            TypeError: `key` is none.
        """
        if not counts:
            raise invalid(
                "counts", counts, "one number for each axis of the domain", "write `counts=(10,)` for one axis"
            )
        for i, count in enumerate(counts):
            at_least(f"counts[{i}]", count, 1)
        if not 1 < overlap < math.inf:
            raise invalid("overlap", overlap, "a finite number > 1", "leave the default: narrower windows have gaps")
        self.lower, self.upper = domain(lower, upper, len(counts))
        check_key(key)
        self.networks = eqx.filter_vmap(make)(jr.split(key, math.prod(counts)))
        self.counts, self.overlap = tuple(counts), float(overlap)

    def windows(self, x: Float[Array, " in"]) -> Float[Array, " box"]:
        """The weights `w_j(x)`: nonnegative, with sum 1."""
        low, high = constant(self.lower, x), constant(self.upper, x)
        inside, product = jnp.clip(x, low, high), jnp.ones(1, x.dtype)
        # the sum of products over axes is the product of sums: each axis is divided by its own sum
        for i, count in enumerate(self.counts):
            centres, half = self._axis(i, low, high)
            s = jnp.clip((inside[i] - centres) / half, -1, 1)
            bumps = ((1 + jnp.cos(jnp.pi * s)) / 2) ** 2 if count > 1 else jnp.ones(1, x.dtype)
            product = jnp.ravel(product[:, None] * (bumps / jnp.sum(bumps)))
        return product

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " *out"]:
        """The output for one instance; `key` is not used."""
        low, high = constant(self.lower, x), constant(self.upper, x)
        axes = [self._axis(i, low, high) for i in range(len(self.counts))]
        local = jnp.meshgrid(*[(x[i] - centres) / half for i, (centres, half) in enumerate(axes)], indexing="ij")
        points = jnp.stack([jnp.ravel(part) for part in local], axis=-1)
        values = eqx.filter_vmap(lambda network, point: network(point))(self.networks, points)
        return jnp.tensordot(self.windows(x), values, 1)

    def _axis(self, i: int, low: Array, high: Array) -> tuple[Float[Array, " count"], Float[Array, ""]]:
        """Centres and half-width of the boxes along one axis."""
        count, length = self.counts[i], high[i] - low[i]
        if count == 1:
            return (low[i] + length / 2)[None], length / 2
        distance = length / (count - 1)
        return low[i] + distance * jnp.arange(count, dtype=low.dtype), self.overlap * distance / 2
