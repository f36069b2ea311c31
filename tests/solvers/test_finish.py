"""The end of an interior-point solve by the equations of the active set: no bound is forgotten, no row left open."""

import jax
import jax.numpy as jnp
import numpy as np

from sciml.core import is_successful, RESULTS
from sciml.programs import guess, OptimalControl, Program, transcribe
from sciml.solvers import InteriorPoint, solve

HORIZON = 8
CONTROL = OptimalControl(
    dynamics=lambda x, u, w, p: p["A"] @ x + p["B"] @ u,
    stage=lambda x, u, w, p: 0.5 * (x @ x) + 0.05 * (u @ u) + p["r"] @ u,
    terminal=lambda x, p: 2.0 * x @ x,
    initial=lambda p: p["x0"],
    horizon=HORIZON,
    u_lower=-0.5,
    u_upper=0.5,
)
# Each has an input that the first active set holds at its bound, or lets pass it, wrongly.
PS = {
    "A": [[[0.949, 0.135], [0.017, 1.011]], [[0.877, 0.232], [-0.007, 0.906]], [[0.835, 0.325], [0.122, 0.97]]],
    "B": [[[0.039], [0.321]], [[0.064], [0.242]], [[0.019], [0.312]]],
    "x0": [[0.501, -0.648], [-0.239, -0.564], [-1.264, 0.519]],
    "r": [[-0.136], [0.003], [0.31]],
}


def solved(dtype):
    ps = {name: jnp.asarray(value, dtype) for name, value in PS.items()}
    program = transcribe(CONTROL)
    z0 = guess(CONTROL, jnp.zeros((HORIZON, 1), dtype), jax.tree.map(lambda leaf: leaf[0], ps))
    one = lambda p: solve(program, InteriorPoint(), z0, p, throw=False)
    return jax.jit(jax.vmap(one))(ps)


def test_inputs_that_the_first_active_set_gets_wrong():
    double, single = solved(jnp.float64), solved(jnp.float32)
    for solution, tol in ((double, 1e-8), (single, 1e-4)):
        assert np.all(is_successful(solution.result))
        assert np.all(solution.stats.residual.largest <= tol)
    # A residual of 1e-4 leaves 1e-3 open in the inputs; the last step, on the active set, closes it.
    np.testing.assert_allclose(single.value.u, double.value.u, atol=1e-5)


def test_without_constraints_the_end_is_not_tried_for_ever():
    """There is no active set to find: an objective without a lower bound has to be followed until it is seen."""
    falling = [
        lambda z: -(z[0] ** 2) - z[1] ** 2,
        lambda z: z[0] ** 2 - z[1] ** 2,
        lambda z: z[0] * z[1],
        lambda z: -(z[0] ** 4) + z[1] ** 2,
        lambda z: z[1] ** 2 - jnp.exp(z[0]),
    ]
    known = lambda z: 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2  # Rosenbrock (1960): 0 at (1, 1)
    program = Program(lambda z, k: jax.lax.switch(k, [*falling, known], z))
    one = lambda k: solve(program, InteriorPoint(), jnp.array([2.0, 1.0]), k, throw=False)
    found = jax.jit(jax.vmap(one))(jnp.arange(len(falling) + 1))
    assert (found.result == RESULTS.unbounded).tolist() == [True] * len(falling) + [False]
    assert is_successful(found.result)[-1] and int(found.stats.steps.max()) < 100
    np.testing.assert_allclose(found.value[-1], 1.0, atol=1e-8)
