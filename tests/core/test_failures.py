"""Failures that raise: whose stack, which instances, and under which transforms."""

import traceback

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.core import check_key, checked, message, RESULTS
from sciml.nn import TreeMLP
from sciml.sources import Sampled, Uniform


def work(x, throw=True):
    """Square roots fail below 0, and stall at exactly 0."""
    result = RESULTS.where(x < 0, RESULTS.infeasible, RESULTS.where(x == 0, RESULTS.stalled, RESULTS.successful))
    return checked(jnp.sqrt(jnp.abs(x)), result) if throw else result


def first():
    return work(jnp.asarray(-1.0))


def second():
    return work(jnp.asarray(-2.0))


def test_every_failure_shows_its_own_stack():
    for one, other in ((first, second), (second, first)):
        with pytest.raises(
            eqx.EquinoxRuntimeError, match="not feasible.*`RESULTS.infeasible`; with `throw=False`"
        ) as error:
            one()
        frames = [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]
        assert one.__name__ in frames and other.__name__ not in frames + [str(error.value)]


@pytest.mark.parametrize("wrap", [jax.jit, eqx.filter_jit, lambda f: f], ids=["jit", "filter_jit", "eager"])
def test_a_batch_names_how_many_failed_and_which(wrap):
    xs = jnp.array([1.0, -1.0, 4.0, 0.0, -1.0])
    text = (
        "3 of 5 instances failed, at index 1, 3, 4:\n"
        f"  2 `RESULTS.infeasible`: {message(RESULTS.infeasible)}\n"
        f"  1 `RESULTS.stalled`: {message(RESULTS.stalled)}\n"
        "With `throw=False` nothing raises"
    )
    with pytest.raises(RuntimeError) as error:
        jax.block_until_ready(wrap(jax.vmap(work))(xs))
    assert text in str(error.value)
    np.testing.assert_array_equal(wrap(jax.vmap(work))(xs[jnp.array([0, 2])]), [1.0, 2.0])


def test_the_class_of_an_error_is_the_one_that_solve_documents():
    """Under a transformation JAX raises, and its class is no `EquinoxRuntimeError`; both are a `RuntimeError`."""
    for wrapped, x in ((jax.jit(work), jnp.asarray(-1.0)), (jax.vmap(work), -jnp.ones(2))):
        with pytest.raises(jax.errors.JaxRuntimeError, match="RESULTS.infeasible") as error:
            jax.block_until_ready(wrapped(x))
        assert isinstance(error.value, RuntimeError) and not isinstance(error.value, eqx.EquinoxRuntimeError)
    assert issubclass(eqx.EquinoxRuntimeError, RuntimeError)


def test_nested_batches_and_long_lists():
    square = jax.jit(jax.vmap(jax.vmap(work)))
    with pytest.raises(RuntimeError, match=r"2 of 6 instances failed, at index \(0, 1\), \(1, 2\):"):
        jax.block_until_ready(square(jnp.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])))
    with pytest.raises(RuntimeError, match=r"9 of 9 instances failed, at index 0, 1, 2, 3, 4, \.\.\.:"):
        jax.block_until_ready(jax.jit(jax.vmap(work))(-jnp.arange(1.0, 10.0)))


def test_a_single_failure_under_jit_has_no_index():
    with pytest.raises(RuntimeError, match="not feasible.*`RESULTS.infeasible`; with `throw=False`"):
        jax.block_until_ready(jax.jit(work)(jnp.asarray(-1.0)))


def test_what_a_caller_knows_replaces_the_text():
    with pytest.raises(RuntimeError, match="^Spilt"):
        checked(jnp.ones(2), RESULTS.stalled, {"stalled": "Spilt milk."})


def test_derivatives_pass_through():
    np.testing.assert_allclose(jax.grad(work)(jnp.asarray(4.0)), 0.25)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(jax.grad(work))))(jnp.array([1.0, 4.0])), [-0.25, -0.25 / 8])
    np.testing.assert_allclose(jax.jit(jax.jacfwd(work))(jnp.asarray(4.0)), 0.25)
    with pytest.raises(RuntimeError, match="not feasible"):
        jax.grad(work)(jnp.asarray(-4.0))


def test_keys_are_keys():
    for key in (jr.key(0), jr.PRNGKey(0)):
        check_key(key)
        jax.jit(check_key)(key)
    with pytest.raises(
        TypeError, match=r"`key`: got 7; expected one key of `jax.random`. Likely fix: .*jax.random.key\(7\)"
    ):
        check_key(7)
    with pytest.raises(TypeError, match=r"`key`: got None; .*jax.random.key\(0\)"):
        check_key(None)
    with pytest.raises(TypeError, match=r"`seed`: got an array of shape \(3,\)"):
        check_key(jr.split(jr.key(0), 3), "seed")


@pytest.mark.parametrize(
    "make",
    [
        lambda key: TreeMLP(0.0, 0.0, width=1, depth=0, key=key),
        lambda key: Uniform(0.0, 1.0, 1).draw(3, key=key),
        lambda key: Sampled(jr.normal, 1).draw(3, key=key),
    ],
)
def test_an_integer_is_no_key(make, unchecked):
    with pytest.raises(TypeError, match="`key`: got 0; expected one key of `jax.random`"):
        make(0)
