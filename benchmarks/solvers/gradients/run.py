"""Are derivatives of solutions exact? Every solver on five programs, forward and reverse mode, in both precisions.

    python benchmarks/solvers/gradients/run.py

Rows go to `results/gradients.json` as they come and replace those of the same item and metric.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[2])]

import harness  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import problem  # noqa: E402
import referee  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from sciml import solve  # noqa: E402
from sciml.solvers import ADMM, BoxNewton, derivative_health, InteriorPointQP  # noqa: E402

TARGETS = {"float64": 1e-6, "float32": 1e-3}
MARGIN = 1e-4  # of strictly complementary instances
FLAG = {"float64": 1e-3, "float32": 3e-2}  # a margin up to this, reported by the library, is a flag

Row = dict[str, Any]


def compiled(question: problem.Question, solver: Any, dtype: Any) -> Any:
    """`(ps, dps, w) -> solution, dz along dps, gradient of wᵀz, health` of a batch."""
    needs_matrices = isinstance(solver, InteriorPointQP | ADMM | BoxNewton)
    program = question.quadratic if needs_matrices else question.program
    z0 = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), question.z0)

    def one(p: Any, dp: Any, w: Any) -> Any:
        def inner(p: Any) -> Any:
            solution = solve(program, solver, z0, p, throw=False)
            return ravel_pytree(solution.value)[0], solution

        _, along, solution = jax.linearize(inner, p, has_aux=True)
        gradient = jax.linear_transpose(along, p)(w)[0]
        health = derivative_health(program, solution, p)
        duals = solution.duals
        multipliers = [ravel_pytree(part)[0] for part in (duals.ineq, duals.lower, duals.upper)]
        found = {
            "z": ravel_pytree(solution.value)[0], "multipliers": jnp.concatenate(multipliers),
            "has": solution.stats.has_derivative, "margin": health.margin, "error": health.error,
        }  # fmt: skip
        return found, along(dp), gradient

    run = jax.jit(jax.vmap(one))
    cast = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)
    return lambda *args: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), run(*map(cast, args)))


def entry(tree: Any, i: int) -> Any:
    """The instance `i` of a batch."""
    return {name: leaf[i] for name, leaf in tree.items()}


def relative(got: Any, wanted: Any, size: float) -> float:
    """Largest error relative to `size`; infinite instead of NaN."""
    error = float(np.max(np.abs(got - wanted))) / size
    return error if np.isfinite(error) else np.inf


def judged(question: problem.Question, ps: Any, dps: Any, w: Any, answer: Any) -> list[Row]:
    """What the referee says of every instance."""
    found, slopes, gradient = answer
    rows = []
    for i in range(len(w)):
        p, dp, at = entry(ps, i), entry(dps, i), entry(found, i)
        data = question.arrays(p)
        C, d = referee.rows(data)
        gap = d - C @ at["z"]
        active = at["multipliers"] > np.where(np.isfinite(gap), gap, np.inf) if len(gap) else np.zeros(0, bool)
        z, y, active, margin = referee.settled(data, at["z"], active)
        finite = all(np.all(np.isfinite(v)) for v in (slopes[i], *entry(gradient, i).values()))
        row = {
            "margin": margin,
            "has": bool(at["has"]),
            "finite": finite,
            "reported": at["margin"],
            "error": at["error"],
        }
        if margin > MARGIN:
            exact = referee.tangent(question.arrays, p, dp, z, y, active)
            nearby = referee.difference(question.arrays, p, dp, z, active)
            size = float(np.max(np.abs(exact)))
            pulled = sum(float(np.sum(gradient[name][i] * dp[name])) for name in p)
            reverse = relative(pulled, w[i] @ exact, size * float(np.linalg.norm(w[i])))
            row |= {"forward": relative(slopes[i], exact, size), "reverse": reverse}
            row |= {"differences": relative(slopes[i], nearby, size)}
        rows.append({**row, "z": z, "slack": d - C @ z})
    return rows


def degenerate(ps: Any, rows: list[Row]) -> Any | None:
    """The instances with one idle limit moved to where it just touches the solution; None where `p` holds none."""
    name = "h" if "h" in ps else "upper" if "upper" in ps else None
    if name is None:
        return None
    limits = ps[name].copy()
    for i, row in enumerate(rows):
        n = limits.shape[1]
        slack = row["slack"][:n] if name == "h" else row["slack"][-n:]
        idle = np.where(slack > MARGIN, slack, np.inf)
        j = int(np.argmin(idle))
        limits[i, j] -= idle[j] if np.isfinite(idle[j]) else 0.0
    return {**ps, name: limits}


def draws(question: problem.Question, seed: int, dtype: Any) -> tuple[Any, Any, np.ndarray]:
    """Instances, directions and weights, rounded to the precision that the contestants get."""
    rng = np.random.default_rng(seed)
    rounded = lambda v: np.asarray(np.asarray(v, dtype), np.float64)
    ps = {name: rounded(v) for name, v in question.draw(rng).items()}
    size = ravel_pytree(question.z0)[0].size
    dps = {name: rounded(rng.standard_normal(v.shape)) for name, v in ps.items()}
    return ps, dps, rounded(rng.standard_normal((problem.COUNT, size)))


def measured(name: str, question: problem.Question, solver: Any, precision: str, seeds: list[int]) -> list[Row]:
    """The rows of one solver on one program in one precision."""
    run, results = compiled(question, solver, jnp.dtype(precision)), []
    words = type(solver).__name__
    for seed in seeds:
        ps, dps, w = draws(question, seed, precision)
        rows = judged(question, ps, dps, w, run(ps, dps, w))
        clear = [row for row in rows if row["margin"] > MARGIN and row["has"]]
        item = f"{words}, {name}, {precision}, seed {seed}"
        failures = {"failures": sum(not row["has"] for row in rows)}
        for key, metric in (
            ("forward", "relative error of forward mode, against the linear system of the active set"),
            ("reverse", "relative error of reverse mode, against the linear system of the active set"),
            ("differences", "relative error of forward mode, against central differences"),
        ):
            worst = max((row[key] for row in clear), default=None)
            results.append({"item": item, "metric": metric, "value": worst, "target": TARGETS[precision], **failures})
        moved = degenerate(ps, rows)
        if moved is None:
            continue
        rows = [row for row in judged(question, moved, dps, w, run(moved, dps, w)) if row["margin"] <= MARGIN]
        share = lambda good, rows=rows: 100.0 * float(np.mean([good(row) for row in rows])) if rows else None
        flagged = share(lambda row: row["reported"] <= FLAG[precision] or not row["error"] <= TARGETS[precision])
        failures = {"failures": sum(not row["has"] for row in rows)}
        rest = {"target": 100.0, "unit": "%", "better": "higher", **failures}
        results.append({"item": item, "metric": "degenerate instances with finite derivatives", **rest})
        results[-1]["value"] = share(lambda row: row["finite"])
        results.append({"item": item, "metric": "degenerate instances that the health report flags", **rest})
        results[-1]["value"] = flagged
    for row in results:
        print(f"{row['item']}: {row['metric']}: {row['value']} ({row['failures']} failures)", flush=True)
    return results


def store(rows: list[Row]) -> None:
    """Rows beside those of other items."""
    origin = harness.origin(harness.versions(), harness.command(HERE, rivals=False), harness.cpu(""))
    common = {"unit": "1", "better": "lower", "rivals": {}, **origin}
    harness.merge(HERE / "results" / "gradients.json", [{**common, **row} for row in rows])


def main() -> None:
    """All solvers on all programs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(problem.SEEDS))
    parser.add_argument("--precisions", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--only", default="", help="part of a solver's or a program's name")
    args = parser.parse_args()
    for precision in args.precisions:
        for name, question in problem.questions().items():
            for solver in question.solvers:
                if args.only in f"{type(solver).__name__}, {name}":
                    store(measured(name, question, solver, precision, args.seeds))


if __name__ == "__main__":
    main()
