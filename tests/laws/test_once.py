"""No function is evaluated again for each entry of a dense Hessian: what XLA fuses, as users run it."""

import math
import re
from importlib.metadata import version

import jax
import jax.numpy as jnp
import pytest

from sciml import Program, solve
from sciml.solvers import _derivatives, AbstractSolver, InteriorPoint, SQP
from tests.laws.chain import computations

N, LANES = 20, 5
# The default of XLA, which the tests switch off in jaxlib 0.10 for the sake of their compile time. A later jaxlib has
# nothing else, and does not know the option.
AS_USERS_RUN_IT = {"xla_cpu_use_fusion_emitters": True} if version("jaxlib").startswith("0.10.") else None


def entry_by_entry(solver: AbstractSolver) -> list[str]:
    """Fused loops of a compiled batch that compute `LANES N²` entries from a sine of their own."""
    program = Program(
        lambda z, p: jnp.sum(0.1 * (z - p) ** 2 + jnp.sin(z) * jnp.arange(1.0, N + 1)),
        ineq=lambda z, p: jnp.sum(z) - 1.0,
        lower=-2.0,
    )
    batch = jax.vmap(lambda p: solve(program, solver, jnp.zeros(N), p, throw=False).value)
    lowered = jax.jit(batch).lower(jnp.zeros(LANES))
    text = lowered.compile(AS_USERS_RUN_IT).as_text()
    found = []
    for loop, body in computations(text).items():
        costly: set[str] = set()
        for name, instruction in body.items():
            if any(f" {word}(" in instruction for word in ("sine", "cosine")):
                costly.add(name)
            elif costly.intersection(re.findall(r"%([\w.\-]+)", instruction)):
                costly.add(name)
                shape = re.match(r"\w+\[([\d,]+)\]", instruction)
                size = math.prod(int(n) for n in shape[1].split(",")) if shape else 0
                if loop.startswith("fused") and size == LANES * N**2:
                    found.append(f"{loop}: {name}")
    return found


def test_without_a_loop_of_its_own_they_are(monkeypatch: pytest.MonkeyPatch):
    """The reader finds what it looks for."""
    monkeypatch.setattr(_derivatives, "_SEVERAL", N + 1)
    assert entry_by_entry(InteriorPoint(tol=1e-7))


@pytest.mark.parametrize("solver", [InteriorPoint(), SQP()], ids=lambda solver: type(solver).__name__)
def test_no_function_is_evaluated_for_each_entry(solver: AbstractSolver):
    assert entry_by_entry(solver) == []
