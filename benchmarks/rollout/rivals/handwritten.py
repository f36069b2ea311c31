"""The same step in JAX by hand: `vmap` of one `lax.scan`, nothing checked, nothing recorded but x and u."""

import jax
import jax.numpy as jnp
import problem
from compiled import compile_step


def _field(x, u):
    return jnp.stack([x[1], problem.MU * (1 - x[0] ** 2) * x[1] - x[0] + u[0]])


def _advance(x, u):
    h = problem.DT
    k1 = _field(x, u)
    k2 = _field(x + h / 2 * k1, u)
    k3 = _field(x + h / 2 * k2, u)
    k4 = _field(x + h * k3, u)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _policy(weights, x):
    w0, b0, w1, b1, w2, b2 = weights
    a = jax.nn.gelu(w0 @ x + b0, approximate=False)
    a = jax.nn.gelu(w1 @ a + b1, approximate=False)
    return problem.LOWER + (problem.UPPER - problem.LOWER) * jax.nn.sigmoid(w2 @ a + b2)


def build(instance, horizon, wrap):
    """One gradient step, and the seconds that its compilation took; `wrap` goes around the scan's body."""

    def cost(weights, x0):
        def body(x, _):
            u = _policy(weights, x)
            following = _advance(x, u)
            return following, (following, u)

        x, u = jax.vmap(lambda start: jax.lax.scan(wrap(body), start, length=horizon)[1])(x0)
        mean_square = (jnp.sum(x0**2) + jnp.sum(x**2)) / (x0.size * (horizon + 1))
        return mean_square + problem.INPUT_WEIGHT * jnp.mean(u**2)

    weights = tuple(jnp.asarray(instance[f"{kind}{layer}"]) for layer in range(3) for kind in "Wb")
    return compile_step(cost, weights, jnp.asarray(instance["x0"]))


def prepare(instance, horizon):
    """The plain scan: reverse mode stores every intermediate of every step."""
    return build(instance, horizon, lambda body: body)
