"""The least-squares problems in JAX, one for each regime, over one flat vector of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


class Problem(NamedTuple):
    """Residuals `scale * function(flat, sample)` of each term; `whole` mixes all samples where `terms` is None."""

    flat: jax.Array
    terms: tuple[tuple[Callable[[Any, Any], Any], Any, float], ...] | None
    whole: Callable[[Any], Any]


def network(sizes: tuple[int, int, int], key: int) -> tuple[jax.Array, Callable[[Any, Any], Any]]:
    """Flat parameters of a tanh network (inputs, width, hidden layers) with one output, and its value at a point."""
    inputs, width, depth = sizes
    model = eqx.nn.MLP(inputs, "scalar", width, depth, jnp.tanh, key=jax.random.key(key))
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    return flat, lambda flat, x: eqx.combine(unravel(flat), rest)(x)


def by_samples(flat: jax.Array, terms: tuple[tuple[Any, Any, float], ...]) -> Problem:
    """All residuals from those of single samples."""
    several = lambda v, f, data, scale: scale * jax.vmap(lambda s: f(v, s))(data).reshape(-1)
    return Problem(flat, terms, lambda v: jnp.concatenate([several(v, *term) for term in terms]))


def poisson(data: dict[str, Any]) -> Problem:
    """`Δu = -2π² sin πx sin πy` on the unit square, `u = 0` on its boundary: 2,000 and 300 points, 1,981 parameters."""
    flat, value = network((2, 30, 3), 0)

    def equation(v: Any, x: Any) -> Any:
        hessian = jax.hessian(lambda x: value(v, x))(x)
        return (jnp.trace(hessian) + 2 * jnp.pi**2 * jnp.prod(jnp.sin(jnp.pi * x)))[None]

    inside, edge = jnp.asarray(data["inside"]), jnp.asarray(data["edge"])
    boundary = lambda v, x: value(v, x)[None]
    return by_samples(flat, ((equation, inside, len(inside) ** -0.5), (boundary, edge, 10.0 * len(edge) ** -0.5)))


def regression(data: dict[str, Any], sizes: tuple[int, int, int]) -> Problem:
    """A network for values at points."""
    flat, value = network(sizes, 1)
    misfit = lambda v, s: (value(v, s[0]) - s[1])[None]
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])
    return by_samples(flat, ((misfit, (x, y), len(x) ** -0.5),))


def recurrence(data: dict[str, Any]) -> Problem:
    """A recurrent network in free run over one record: every residual depends on all inputs before it."""
    u, y = jnp.asarray(data["u"]), jnp.asarray(data["y"])
    states = 8
    start = 0.3 * jax.random.normal(jax.random.key(2), (states * states + 3 * states,))

    def whole(v: Any) -> Any:
        A, b, c, d = jnp.split(v, [states**2, states**2 + states, states**2 + 2 * states])
        advance = lambda x, u: (jnp.tanh(A.reshape(states, states) @ x + b * u + d), c @ x)
        return (jax.lax.scan(advance, jnp.zeros(states), u)[1] - y) / len(y) ** 0.5

    return Problem(start, None, whole)


BUILD: dict[str, Callable[[dict[str, Any]], Problem]] = {
    "samples": poisson,
    "few_residuals": lambda data: regression(data, (2, 30, 3)),
    "dense": recurrence,
    "matrix_free": lambda data: regression(data, (3, 70, 3)),
}


def build(case: Any, data: dict[str, Any]) -> Problem:
    """The problem of a case, by the case's name."""
    return BUILD[case.__name__.rpartition(".")[2]](data)
