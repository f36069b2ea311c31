"""What the JAX contestants share: compiled actions, and the program over the inputs alone, `½ uᵀPu + q(x_0)ᵀu`."""

import jax
import jax.numpy as jnp
import problem
from harness.timing import compile_ahead

SHARED = ("A", "B", "b", "H")


def matrices(theta):
    """`P` (80, 80), and `linear` (80, 8), `constant` (80) with `q = linear x_0 + constant`."""
    A, B, b, H = (theta[name] for name in ("A", "B", "b", "H"))
    H = 0.5 * (H + H.T)
    n_x, n_u, steps = problem.NX, problem.NU, problem.STEPS
    width = steps * n_u + n_x + 1  # columns: inputs, x_0, one

    def advance(x, k):
        u = jax.lax.dynamic_update_slice(jnp.zeros((n_u, width), x.dtype), jnp.eye(n_u, dtype=x.dtype), (0, k * n_u))
        z = jnp.concatenate([x, u])
        return (A @ x + B @ u).at[:, -1].add(b), z

    x0 = jnp.zeros((n_x, width), A.dtype).at[:, -n_x - 1 : -1].set(jnp.eye(n_x, dtype=A.dtype))
    last, zs = jax.lax.scan(advance, x0, jnp.arange(steps))
    whole = jnp.einsum("kia,ij,kjb->ab", zs, H, zs, optimize="optimal") + last.T @ H[:n_x, :n_x] @ last
    n = steps * n_u
    return whole[:n, :n], whole[:n, n:-1], whole[:n, -1]


def differentiated(inputs, theta, x0):
    """Compiled actions of `inputs(theta, x0)` for one instance: forward; forward and backward."""
    batched = jax.vmap(inputs, in_axes=(None, 0))

    def forward(theta, x0):
        return {"u": batched(theta, x0)}

    def both(theta, x0):
        def first(theta):
            u = batched(theta, x0)
            return jnp.sum(u[:, 0]), u

        slopes, u = jax.grad(first, has_aux=True)(theta)
        return {"u": u, **slopes}

    done, seconds = {}, {}
    for name, function in (("forward", forward), ("both", both)):
        done[name], seconds[name] = compile_ahead(function, theta, x0)
    return done, seconds
