"""What one factorisation and solution of a linear-quadratic problem costs; and the small Cholesky kernel alone.

python benchmarks/solvers/riccati_kernel/run.py
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[2])]

import harness  # noqa: E402

os.environ.update(harness.ONE_THREAD)
import contestants  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import problem  # noqa: E402

from sciml.solvers import _riccati, _small  # noqa: E402

REPETITIONS = 10
SHORTEST = 0.05  # seconds; a repetition is as many calls as this takes
OURS, ASSOCIATIVE, PLAIN, CONDENSED = "sciml", "sciml, associative", "jnp.linalg in the scan", "dense condensed"
ERROR = 1e-9
LINEAR = 1.3  # time per step at the longest horizon / that at a tenth of it


def timings(functions: dict[str, Callable], inputs: Any, batch: int) -> dict[str, dict[str, Any]]:
    """By contestant: compile seconds, output, and wall and CPU microseconds per instance, taking turns."""
    reports: dict[str, dict[str, Any]] = {}
    for name, function in functions.items():
        start = time.process_time()
        call = jax.jit(jax.vmap(function)).lower(*inputs).compile()
        seconds = time.process_time() - start
        output = jax.block_until_ready(call(*inputs))
        start = time.perf_counter()
        jax.block_until_ready(call(*inputs))
        count = max(1, round(SHORTEST / (time.perf_counter() - start)))
        reports[name] = {"call": call, "compile_s": seconds, "output": output, "count": count, "wall": [], "cpu": []}
    for turn in range(REPETITIONS):
        for report in list(reports.values())[:: 1 if turn % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(report["count"]):
                jax.block_until_ready(report["call"](*inputs))
            scale = 1e6 / report["count"] / batch
            report["cpu"].append((time.process_time() - cpu) * scale)
            report["wall"].append((time.perf_counter() - wall) * scale)
    return reports


def row(item: str, metric: str, unit: str, values: dict[str, float | None], **rest: Any) -> dict[str, Any]:
    """One row of results; the first contestant is ours."""
    origin = harness.origin(harness.versions(), harness.command(HERE, rivals=False))
    return {**harness.row(item, metric, values, ours=next(iter(values)), unit=unit, **rest), **origin}


def rows_of(item: str, what: str, reports: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Times of one case."""
    rows = []
    for kind in ("wall", "cpu"):
        for label, share in (("", 0.5), (", lower quartile", 0.25), (", upper quartile", 0.75)):
            values = {name: float(np.quantile(report[kind], share)) for name, report in reports.items()}
            rows.append(row(item, f"{kind} time per {what}{label}", "µs", values))
    compiles = {name: report["compile_s"] for name, report in reports.items()}
    return [*rows, row(item, f"compile time of a {what}", "s", compiles)]


def kernel(case: tuple[int, int, int], batch: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one case of the linear-quadratic kernel."""
    steps, nx, nu = case
    item = f"N {steps}, nx {nx}, nu {nu}, batch {batch}"
    functions = {OURS: contestants.ours(_riccati.Sequential()), ASSOCIATIVE: contestants.ours(_riccati.Associative())}
    functions[PLAIN] = contestants.plain
    if steps * nu <= 400 and steps * batch <= 6400:  # else gigabytes
        functions[CONDENSED] = contestants.condensed
    if steps * batch > 12_800:
        del functions[ASSOCIATIVE]
    matrices, vectors = problem.instances(seed, *case, batch)
    inputs = jax.tree.map(jnp.asarray, (matrices, vectors))
    reports = timings(functions, inputs, batch)
    errors = {}
    for name, report in reports.items():
        errors[name] = max(
            problem.residual(*jax.tree.map(lambda v: v[i], (matrices, vectors)),  # noqa: B023
                             jax.tree.map(lambda v: np.asarray(v[i]), report["output"]))  # noqa: B023
            for i in {0, batch - 1}
        )  # fmt: skip
    scan = _riccati.Sequential()
    factors = jax.jit(jax.vmap(lambda m: _riccati.factorise(_riccati.LQ(*m), scan)))(inputs[0])
    again = timings({OURS: lambda f, v: f.solve(*v)}, (factors, inputs[1]), batch)
    rows = rows_of(item, "factorisation and solution", reports) + rows_of(item, "solution with the same factors", again)
    return [*rows, row(item, "KKT residual", "1", errors, target=ERROR)]


def small(n: int, batch: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one case of the small Cholesky kernel: unrolled, whatever the limit in use, against `jnp.linalg`."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((batch, n, n))
    inputs = jnp.asarray(root @ root.mT + n * np.eye(n)), jnp.asarray(rng.standard_normal((batch, n, 1)))

    def with_limit(limit: int) -> Callable:
        def solve(matrix, right):
            kept, _small.UNROLLED = _small.UNROLLED, limit
            try:
                factor = _small.cholesky(matrix)
                return factor, _small.solve_cholesky(factor, right)
            finally:
                _small.UNROLLED = kept

        return solve

    reports = timings({"unrolled": with_limit(n), "jnp.linalg": with_limit(0)}, inputs, batch)
    return rows_of(f"n {n}, batch {batch}", "Cholesky factorisation and solution", reports)


def linearity(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Time per step at the longest horizon over that at the one before."""
    found = {r["item"]: r["value"] for r in rows if r["metric"] == "cpu time per factorisation and solution"}
    (short, *shape), long = problem.CASES[-2], problem.CASES[-1]
    new = []
    for batch in problem.BATCHES:
        name = "N {}, nx {}, nu {}, batch {}".format
        a, b = found.get(name(short, *shape, batch)), found.get(name(*long, batch))
        if a is not None and b is not None:
            metric = f"cpu time per step / that at N = {short}"
            new.append(row(name(*long, batch), metric, "1", {OURS: b / a * short / long[0]}, target=LINEAR))
    return new


def main() -> None:
    """Measure, print and write after every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=len(problem.CASES), help="the first so many only")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "riccati_kernel.json")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    harness.pin()
    rows: list[dict[str, Any]] = []
    tasks = [(kernel, (case, batch)) for case in problem.CASES[: args.cases] for batch in problem.BATCHES]
    tasks += [(small, (n, batch)) for n in problem.SMALL_SIZES for batch in problem.SMALL_BATCHES]
    for task, arguments in tasks:
        rows += (new := task(*arguments, args.seed))
        for r in new:
            if "quartile" not in r["metric"]:
                print(r["item"], r["metric"], r["value"], r["rivals"], flush=True)
        harness.write(args.out, rows + linearity(rows))


if __name__ == "__main__":
    main()
