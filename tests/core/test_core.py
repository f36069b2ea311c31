"""Results, trees, errors, progress, the loop, and the linear solver of the implicit derivative."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from sciml.core import (
    as_arrays,
    as_floats,
    batch_size,
    explain,
    invalid,
    is_successful,
    iterate,
    message,
    progress_bar,
    ravel,
    RESULTS,
    RobustLU,
    slice_batch,
    stack,
    tally,
    tree_allfinite,
    tree_size,
    tree_where,
    where_needed,
    wrong_type,
)

OURS = """
    infeasible contradictory_bounds unbounded nonfinite_start nonfinite_step stalled diverged unstable
""".split()


@pytest.mark.parametrize("name", OURS)
def test_every_failure_says_cause_and_cure(name: str):
    result = getattr(RESULTS, name)
    assert not bool(is_successful(result))
    assert len(message(result)) > 40


def test_tally_counts_outcomes():
    kinds = [RESULTS.infeasible, RESULTS.successful, RESULTS.infeasible]
    batch = jax.vmap(lambda bad: RESULTS.where(bad, kinds[0], kinds[1]))(jnp.array([True, False, True]))
    assert tally(batch) == {"infeasible": 2, "successful": 1}
    assert tally(RESULTS.stalled) == {"stalled": 1}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_where_needed_computes_where_it_is_needed(dtype):
    """A factorisation of what does not vary over the turns of a loop would leave an ordinary loop."""
    matrices = jnp.stack([jnp.eye(9), 2 * jnp.eye(9)]).astype(dtype)
    factor = lambda a: jnp.linalg.cholesky(a.astype(jnp.float32))[0, 0]
    loop = lambda needed, once, default: jax.lax.while_loop(lambda c: c[0], lambda _: (needed & False, once()), default)

    def run(choose):
        tied = lambda needed, a: choose(needed, lambda: factor(a), jnp.asarray(7.0, jnp.float32))
        return jax.jit(jax.vmap(tied)).lower(jnp.array([True, False]), matrices).compile()

    def is_outside(compiled) -> bool:
        entry = compiled.as_text().split("ENTRY")[1]
        return any("lapack" in line for line in entry.splitlines() if "custom-call(" in line)

    tied = run(where_needed)
    np.testing.assert_array_equal(tied(jnp.array([True, False]), matrices), [1.0, 7.0])
    assert not is_outside(tied)
    untied = run(lambda needed, once, default: loop(needed, once, (needed, default))[1])
    assert is_outside(untied), "XLA leaves it where it is: `where_needed` may be written without the tie"


def test_results_of_other_libraries_promote():
    assert RESULTS.promote(lx.RESULTS.successful) == RESULTS.successful
    assert message(RESULTS.successful) == ""


def test_errors_have_four_parts():
    text = "`x`: got 1; expected 2. Likely fix: add one"
    assert explain("x", 1, 2, "add one") == text
    assert isinstance(invalid("x", 1, 2, "add one"), ValueError) and str(invalid("x", 1, 2, "add one")) == text
    assert isinstance(wrong_type("x", 1, 2, "add one"), TypeError)


def test_trees_of_numbers_become_arrays():
    tree = as_floats({"a": 1, "b": np.float32(2.0)}, "z0")
    assert tree["a"].dtype == jnp.float64 and tree["b"].dtype == jnp.float32
    assert not tree["a"].weak_type
    assert as_arrays({"a": 1.0, "f": "text"})["f"] == "text"
    with pytest.raises(ValueError, match=r"`z0\['a'\]`: got a str; expected a number or an array"):
        as_floats({"a": "1"}, "z0")


def test_vectors_and_back():
    tree = {"a": jnp.arange(3.0), "b": jnp.asarray(4.0)}
    flat, back = ravel(tree)
    assert flat.shape == (4,) and tree_size(tree) == 4 and jax.tree.all(jax.tree.map(jnp.array_equal, back(flat), tree))
    empty, back = ravel(())
    assert empty.shape == (0,) and back(empty) == ()


def test_batches():
    tree = stack([{"a": float(i)} for i in range(4)])
    assert batch_size(tree, "ps") == 4
    np.testing.assert_array_equal(slice_batch(tree, 1, 3)["a"], [1.0, 2.0])
    for bad in ({"a": jnp.zeros(3), "b": jnp.zeros(4)}, {"a": jnp.zeros(())}):
        with pytest.raises(ValueError, match=r"`ps`: got leaves of shapes .* one common leading axis"):
            batch_size(bad, "ps")


def test_choice_and_finiteness():
    chosen = tree_where(jnp.asarray(False), {"a": jnp.nan}, {"a": 1.0})
    assert chosen["a"] == 1.0 and bool(tree_allfinite({"a": jnp.ones(2), "n": jnp.arange(2)}))
    assert not bool(tree_allfinite({"a": jnp.array([1.0, jnp.inf])})) and bool(tree_allfinite(()))


def test_loop_counts_and_stops():
    plain = lambda cond, body, init, max_steps: jax.lax.while_loop(lambda c: cond(c) & (c[1] < max_steps), body, init)
    run = lambda start, most: iterate(lambda s: s / 2, lambda s: s < 1, start, max_steps=most, while_loop=plain)
    assert run(jnp.asarray(8.0), 10) == (0.5, 4)
    assert run(jnp.asarray(8.0), 2) == (2.0, 2)


def test_progress_is_silent_where_it_should_be(capsys):
    with progress_bar(3, "work", shown=False) as bar:
        bar.update(1)
        bar.set_postfix_str("loss 1")
    assert capsys.readouterr().err == ""


# A singular pair of equal rows and a regular matrix, in one batch.
MATRICES = jnp.array([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])


@pytest.mark.parametrize("transpose", [False, True])
def test_singular_matrices_give_least_squares_beside_regular_ones(transpose: bool):
    def one(matrix, vector):
        operator = lx.MatrixLinearOperator(matrix)
        return lx.linear_solve(operator.T if transpose else operator, vector, RobustLU()).value

    vectors = jnp.array([[1.0, 2.0], [1.0, 3.0]])
    x = jax.jit(jax.vmap(one))(MATRICES, vectors)
    np.testing.assert_allclose(x[0], np.linalg.solve(MATRICES[0], vectors[0]), atol=1e-12)
    # The least-norm least-squares solution of x₀ + x₁ = 1 and = 3.
    np.testing.assert_allclose(x[1], np.linalg.pinv(MATRICES[1]) @ vectors[1], atol=1e-4)
    assert not RobustLU().assume_full_rank()
