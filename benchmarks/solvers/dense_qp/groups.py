"""What factorisations in groups cost (decision 6): CPU time of `InteriorPointQP`, nothing shared, with and without.

    python benchmarks/solvers/dense_qp/groups.py

One batched solve in a compiled function, which is safe either way, on a jaxlib whose batched LAPACK calls can block.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.environment import paths  # noqa: E402

SIZES = ((20, 15, 500), (40, 30, 500), (100, 50, 128))  # variables, rows, instances
MEASURE = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from sciml.core import _linalg
if sys.argv[1] == "plain":
    _linalg.LAPACK_BLOCKS = False
import sciml
n, m, batch = map(int, sys.argv[2:])
rng = np.random.default_rng(1)
half, G = rng.normal(size=(n, n)), jnp.asarray(rng.normal(size=(m, n)))
Q = jnp.asarray(half @ half.T / n + np.eye(n))
own = sciml.programs.QuadraticProgram(
    lambda p: Q + jnp.diag(p**2), lambda p: p, G=lambda p: G * (1 + 0.01 * p), h=jnp.ones(m)
)
one = lambda p: sciml.solve(own, sciml.solvers.InteriorPointQP(), jnp.zeros(n), p, throw=False).value
ps = jnp.asarray(rng.normal(size=(batch, n)))
start = time.process_time()
call = jax.jit(jax.vmap(one)).lower(ps).compile()
compile_s = time.process_time() - start
jax.block_until_ready(call(ps))
cpu, wall = [], []
for _ in range(11):
    a, b = time.process_time(), time.perf_counter()
    jax.block_until_ready(call(ps))
    cpu.append(time.process_time() - a)
    wall.append(time.perf_counter() - b)
print(f"CPU {1e3 * np.median(cpu):.0f} ms, wall {1e3 * np.median(wall):.0f} ms, compile {compile_s:.1f} CPU-s")
"""

if __name__ == "__main__":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths(Path(__file__).parent)), "OPENBLAS_NUM_THREADS": "1"}
    for size in SIZES:
        for kind in ("plain", "groups"):
            command = [sys.executable, "-c", MEASURE, kind, *map(str, size)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=300)
            print(f"{size[0]} variables, {size[2]} instances, {kind}: {done.stdout.strip()}", flush=True)
