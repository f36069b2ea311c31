"""The loop that finishes the last instances of a batch in a narrower one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.solvers._narrowing import narrowing_loop


def halvings(constants, first):
    """How often `first` is halved until it is below the limit, and what is left."""
    going = lambda state: state[0] > 1.0
    go = lambda constants, state: (state[0] * constants["factor"], state[1] + 1)
    return narrowing_loop(going, go, constants, (first, jnp.asarray(0)))


@pytest.mark.parametrize("size", [1, 31, 32, 100])
def test_batch_is_the_same_as_one_by_one(size: int):
    first = 1.7 ** jnp.linspace(-3.0, 40.0, size)[::-1]
    shared = {"factor": jnp.asarray(0.5)}
    left, counts = jax.jit(jax.vmap(halvings, in_axes=(None, 0)))(shared, first)
    one = [halvings(shared, value) for value in first]
    np.testing.assert_allclose(left, [float(value) for value, _ in one])
    np.testing.assert_array_equal(counts, [int(count) for _, count in one])
    factors = {"factor": jnp.linspace(0.3, 0.6, size)}
    nested = jax.vmap(jax.vmap(halvings), in_axes=(None, 0))(factors, jnp.stack([first, first + 1.0]))
    again = jax.vmap(halvings)(factors, first + 1.0)
    np.testing.assert_allclose(nested[0][1], again[0])
    np.testing.assert_array_equal(nested[1][1], again[1])
