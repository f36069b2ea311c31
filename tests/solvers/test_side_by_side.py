"""Independent batched solves and derivatives in one compiled function come back (decision 6)."""

from tests.core.test_linalg import run_with_limit

TWO_SOLVES_AND_A_DERIVATIVE = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import sciml
from sciml.solvers import InteriorPointQP

n, m, batch = 40, 30, 500

def loss(seed):
    rng = np.random.default_rng(seed)
    half, G = rng.normal(size=(n, n)), jnp.asarray(rng.normal(size=(m, n)))
    Q = jnp.asarray(half @ half.T / n + np.eye(n))
    own = sciml.programs.QuadraticProgram(
        lambda p: Q + jnp.diag(p**2), lambda p: p, G=lambda p: G * (1 + 0.01 * p), h=jnp.ones(m)
    )
    solve = lambda p: sciml.solve(own, InteriorPointQP(), jnp.zeros(n), p, throw=False).value
    return lambda ps: jnp.sum(jax.vmap(solve)(ps) ** 2)

first, second = loss(1), loss(2)
both = jax.jit(lambda ps: (first(ps), second(ps), jax.grad(second)(ps)))
ps = jnp.asarray(np.random.default_rng(5).normal(size=(batch, n)))
for _ in range(3):
    jax.block_until_ready(both(ps))
print("returned")
"""


def test_two_solves_and_a_derivative_return():
    """Before decision 6 this hung at the first call, on jaxlib 0.10.2 with two processors."""
    run_with_limit(TWO_SOLVES_AND_A_DERIVATIVE, 400.0)
