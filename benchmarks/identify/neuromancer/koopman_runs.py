"""What the Koopman examples share: stages of a fit, and runs of 10,000 steps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from common import Finding, levenberg

from sciml.losses import KoopmanErrors, MeanSquares
from sciml.sources import Record

LONG = 10_000


def fit(model: Any, data: Record, steps: int) -> Any:
    """Prediction, linearity and reconstruction together, over whole records or windows."""
    return levenberg(model, MeanSquares(KoopmanErrors()), data, steps=steps)


def stability(model: Any, starts: Any, us: Any = None, *, rival: float | None = None) -> list[Finding]:
    """The norm of `K`, and 10,000 steps from many outputs `starts`, under inputs `us (run, time, input)` if there are.

    Without inputs the latent state may not grow beyond its start. With inputs the bound of a contraction is
    `‖z[0]‖ + max ‖B u + b(u)‖ / (1 - ρ)`; here `ρ` is the largest eigenvalue.
    """
    system = model.system
    rho = float(jnp.max(jnp.abs(system.eigenvalues())))
    matrix = jax.jacobian(lambda z: system.step(0.0, z, None))(jnp.zeros(2 * system.decay.size))
    share = float(jnp.max(_share(model, starts, us, rho)))
    words = "that of its start" if us is None else "its bound"
    return [
        Finding("largest singular value of K", float(jnp.linalg.norm(matrix, 2)), 1.0, rival=rival),
        Finding(f"largest latent state over {LONG:,} steps, in units of {words}", share, 1.0),
    ]


@eqx.filter_jit
def _share(model: Any, starts: Any, us: Any, rho: float) -> Any:
    system = model.system

    def one(y: Any, u: Any) -> Any:
        z = model.start.library(y, None)
        push = 0.0 if u is None else _push(system, z, u)
        step = lambda z, u: (system.step(0.0, z, u),) * 2
        zs = jax.lax.scan(step, z, u, length=LONG)[1]
        return jnp.max(jnp.linalg.norm(zs, axis=1)) / (jnp.linalg.norm(z) + push / (1 - rho))

    return jax.vmap(one, in_axes=(0, None if us is None else 0))(starts, us)


def _push(system: Any, z: Any, us: Any) -> Any:
    """The largest `‖B u + b(u)‖` of a record."""
    return jnp.max(jnp.linalg.norm(jax.vmap(lambda u: system.step(0.0, 0 * z, u))(us), axis=1))
