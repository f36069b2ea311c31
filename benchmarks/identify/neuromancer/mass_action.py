"""Known equations with a network in place of one reaction, and the prior that lets their rates be found.

A network beside a rate can absorb it. What is known of a reaction all the same is the *order* in its reactants: of
order one in `x_i`, `N = x_i ∂N/∂x_i`. The regulariser is the deviation from that on a grid over the box of the data,
down to zero concentration.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from common import levenberg, windows
from jaxtyping import Array

from sciml.losses import FreeRun, OneStep, Regularised
from sciml.sources import Record
from sciml.systems.models import GreyBox
from sciml.training import ensemble, LevenbergMarquardt


class Reaction(eqx.Module):
    """A perceptron in scaled coordinates, `scale * net((x - centre) / spread)`."""

    net: eqx.nn.MLP
    centre: tuple[float, float]
    spread: tuple[float, float]
    scale: float

    def __call__(self, x: Array) -> Array:
        scaled = (x - jnp.asarray(self.centre)) / jnp.asarray(self.spread)
        return self.scale * self.net(scaled)[0]


class FirstOrder(eqx.Module):
    """`(N - x_i ∂N/∂x_i) / scale` on a grid, for every reactant `i`, and the sample at which `N` is normalised."""

    points: Array
    reactants: tuple[int, ...] = eqx.field(static=True)
    unit: Array | None = None
    """A state at which `N` is the product of the concentrations: it fixes the unit of the reaction."""

    def __call__(self, model: GreyBox) -> Any:
        N = model.network

        def one(x: Array) -> Array:
            value, slope = jax.value_and_grad(N)(x)
            return jnp.stack([value - x[i] * slope[i] for i in self.reactants]) / N.scale

        order = jax.vmap(one)(self.points) / self.points.shape[0] ** 0.5
        return order if self.unit is None else (order, N(self.unit) / jnp.prod(self.unit) - 1)


def grid(data: Record, points: int = 12) -> Array:
    """From zero to the largest concentrations of the data."""
    axes = [jnp.linspace(0.0, high, points) for high in data.y.max(axis=0)]
    return jnp.stack(jnp.meshgrid(*axes), axis=-1).reshape(-1, 2)


def fit(
    rates: Callable[..., Any],
    guesses: dict[str, float],
    data: Record,
    prior: FirstOrder | None,
    *,
    scale: float,
    seed: int,
) -> GreyBox:
    """Six starts by single steps on 500 samples, and the best of them by free runs of ten steps."""
    centre, spread = (tuple(map(float, part)) for part in (data.y.mean(axis=0), data.y.std(axis=0)))

    def make(key: Any) -> GreyBox:
        net = eqx.nn.MLP(2, 1, 16, 1, jax.nn.tanh, key=key)
        return GreyBox(rates, {k: jnp.asarray(v) for k, v in guesses.items()}, Reaction(net, centre, spread, scale))

    wrap = lambda loss: loss if prior is None else Regularised(loss, jnp.asarray(1.0), prior)
    starts = eqx.filter_vmap(make)(jr.split(jr.key(seed), 6))
    steps = wrap(OneStep(substeps=2))
    best = ensemble(starts, steps, windows(data, 499), LevenbergMarquardt(), steps=150).value
    return levenberg(best, wrap(FreeRun(substeps=2)), windows(data, 10), steps=40)
