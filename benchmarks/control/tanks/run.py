"""The main job on a record, with published errors as rivals and IPOPT as referee of 20 exact solves.

    python benchmarks/control/tanks/run.py --data PATH/dataBenchmark.csv [--report report.json]

Runs `python -m sciml tanks --data ...` (or takes its report), then the referee; writes results/tanks.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import harness  # noqa: E402
from harness import OURS, row  # noqa: E402

# Test RMSE in V, as their papers report it.
PUBLISHED = {
    "grey box with overflow (Worden et al. 2018)": 0.191,
    "truncated simulation error, neural ODE (Forgione & Piga 2021)": 0.33,
    "polynomial NARX (Champneys et al. 2024)": 0.413,
}
TARGETS = {
    "test_rmse_v": ("test RMSE, free run", "V", 0.25, PUBLISHED),
    "gap_mean": ("mean optimality gap of the policy", "1", 0.05, {}),
    "gap_p95": ("95th percentile of the gap", "1", None, {}),
    "violation_rate": ("violation rate over 10,000 fresh scenarios", "1", 1e-3, {}),
    "violation_bound_95": ("95 % upper bound on the violation probability", "1", None, {}),
    "kkt_max": ("largest unscaled KKT residual of exact solves", "1", 1e-5, {}),
    "seconds_total": ("wall time of the command, compilation included", "s", 240.0, {}),
}


def compare_with_referee(report: dict) -> tuple[float, float, float]:
    """Largest relative difference of the optimal costs over 20 scenarios, and milliseconds per solve of both."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import numpy as np
    import referee

    from sciml.sources import Sampled
    from sciml.storage import load
    from sciml.studies import _tanks as study, _tanks_model as tanks

    jax.config.update("jax_enable_x64", True)
    n = len(tanks.RANGES)
    like = {"coordinates": jnp.zeros(n), "covariance": jnp.zeros((n, n))}
    coordinates = load(report["model"], like)["coordinates"]
    scenarios = Sampled(tanks.Scenarios(coordinates), 1).draw(20, key=jr.key(99))
    problem = tanks.control_problem(referee.DT)
    exact = study.exactly(problem, scenarios)
    cost = np.asarray(jax.vmap(study.transcribe(problem).objective)(exact.value, scenarios))
    began = time.process_time()
    jax.block_until_ready(study.exactly(problem, scenarios).value)
    ours = 1e3 * (time.process_time() - began) / 20
    solver = referee.referee({k: v["value"] for k, v in report["parameters"].items()})
    began = time.process_time()
    optima = [
        referee.optimum(solver, np.asarray(x0), float(r))
        for x0, r in zip(scenarios.x0, scenarios.reference, strict=True)
    ]
    theirs = 1e3 * (time.process_time() - began) / 20
    pairs = [(a, b) for a, b, ok in zip(cost, optima, exact.stats.has_derivative, strict=True) if b is not None and ok]
    print(f"{len(pairs)} of 20 scenarios solved by both")
    return max(abs(a - b) / abs(b) for a, b in pairs), ours, theirs


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the benchmark's CSV file")
    parser.add_argument("--report", help="report.json of a finished run on that record")
    chosen = parser.parse_args()
    folder = Path(chosen.report).parent if chosen.report else Path(tempfile.mkdtemp())
    if not chosen.report:
        command = [sys.executable, "-m", "sciml", "tanks", "--data", chosen.data, "--out", str(folder)]
        subprocess.run(command, check=True)
    report = json.loads((folder / "report.json").read_text())
    difference, ours, theirs = compare_with_referee({**report, "model": folder / "model.sciml"})
    rows = [
        row("cascaded tanks", name, {OURS: report[key], **rivals}, unit=unit, target=target)
        for key, (name, unit, target, rivals) in TARGETS.items()
    ]
    name = "largest relative difference of the optimal cost to IPOPT, 20 scenarios"
    rows.append(row("exact solves", name, {OURS: difference}, target=1e-4))
    times = {OURS: ours, "CasADi/IPOPT, one after the other": theirs}
    rows.append(row("exact solves", "CPU time per exact solve, 20 in a batch", times, unit="ms"))
    command = "python benchmarks/control/tanks/run.py --data dataBenchmark.csv"
    common = harness.origin(report["versions"], command, harness.cpu(f"{os.cpu_count()} cores"))
    harness.write(HERE / "results" / "tanks.json", [r | common for r in rows])


if __name__ == "__main__":
    main()
