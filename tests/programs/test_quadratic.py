"""Quadratic programs given by matrices: their functions, their null space, their messages."""

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.programs import bounds, constraints, describe, Duals, kkt_residual, null_space, QuadraticProgram, violation


def test_functions_are_those_of_the_matrices():
    rng = np.random.default_rng(0)
    Q, q, A, G, z = (
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
        rng.normal(size=(1, 3)),
        rng.normal(size=(2, 3)),
        np.ones(3),
    )
    program = QuadraticProgram(Q, lambda p: p * q, A, lambda p: p[None], G, np.array([1.0, np.inf]), lower=0.0)
    p = jnp.asarray(2.0)
    assert program.objective(jnp.ones(3), p) == pytest.approx(0.5 * z @ Q @ z + 2.0 * q @ z)
    g, h = constraints(program, jnp.ones(3), p)
    np.testing.assert_allclose(g, [G[0].sum() - 1.0, -1.0])  # a row without a limit counts as satisfied
    np.testing.assert_allclose(h, A @ z - 2.0)
    lower, upper = bounds(program, jnp.ones(3), p)
    assert not np.any(lower) and np.all(upper == np.inf)
    assert violation(program, jnp.ones(3), p).largest == pytest.approx(max(abs(A.sum() - 2.0), G[0].sum() - 1.0, 0.0))


def test_only_the_symmetric_part_counts():
    data = QuadraticProgram(np.array([[1.0, 2.0], [0.0, 1.0]])).at(None, 2, jnp.float64)
    np.testing.assert_allclose(data.Q, [[1.0, 1.0], [1.0, 1.0]])
    assert data.A.shape == (0, 2) and data.h.shape == (0,)


def test_residual_at_a_known_solution():
    """min ½|z|² with z0 + z1 = 1: z = ½, multiplier -½."""
    program = QuadraticProgram(np.eye(2), A=np.ones((1, 2)), b=np.ones(1))
    duals = Duals((), jnp.array([-0.5]), jnp.zeros(2), jnp.zeros(2))
    assert kkt_residual(program, jnp.full(2, 0.5), duals, None).largest == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("rows", [[[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]])
def test_null_space(rows):
    A = jnp.asarray(rows)
    rank = int(np.linalg.matrix_rank(A))
    program = QuadraticProgram(np.eye(3), A=A, b=np.zeros(2))
    assert program.rank == rank
    basis, inverse = null_space(A, rank)
    assert basis.shape == (3, 3 - rank)
    np.testing.assert_allclose(A @ basis, 0.0, atol=1e-14)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3 - rank), atol=1e-14)
    np.testing.assert_allclose(inverse, np.linalg.pinv(A), atol=1e-14)


def test_rank_is_unknown_where_the_matrix_depends_on_the_instance():
    assert QuadraticProgram(np.eye(2), A=lambda p: p, b=np.zeros(1)).rank is None
    assert QuadraticProgram(np.eye(2)).rank == 0


def test_messages():
    with pytest.raises(ValueError, match="`A, b`: got one of the two; expected both or neither"):
        QuadraticProgram(np.eye(2), A=np.ones((1, 2)))
    with pytest.raises(ValueError, match="`G, h`: got one of the two"):
        QuadraticProgram(np.eye(2), h=np.ones(1))
    with pytest.raises(ValueError, match="`Q, q`: got neither"):
        QuadraticProgram(lower=0.0)
    with pytest.raises(ValueError, match=r"`q`: got shape \(3,\); expected \(2\)"):
        QuadraticProgram(np.eye(2), np.ones(3))
    with pytest.raises(ValueError, match=r"`G`: got shape \(1, 2\); expected \(1, 3\)"):
        QuadraticProgram(np.eye(3), G=lambda p: jnp.ones((1, 2)), h=np.ones(1)).at(None, 3, jnp.float64)


def test_describe_lists_its_blocks(capsys):
    table = describe(QuadraticProgram(np.eye(2), G=np.ones((1, 2)), h=np.ones(1)), jnp.zeros(2))
    assert "ineq" in table and "(1,)" in table


@pytest.mark.parametrize(("rank", "A"), [(3, np.eye(3)[:2]), (-1, lambda p: p), (1, None)])
def test_impossible_rank(rank, A):
    b = None if A is None else np.ones(2)
    with pytest.raises(ValueError, match=f"`rank`: got {rank}; expected an integer from 0 to .*give the rank of `A`"):
        QuadraticProgram(np.eye(3), np.zeros(3), A, b, rank=rank)
