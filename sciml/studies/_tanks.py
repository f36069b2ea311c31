"""The cascaded-tanks study: identify, learn a policy, solve exactly, certify, report."""

import io
import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from ..core import invalid, is_successful, RESULTS, Solution
from ..losses import LeastSquares, Penalty
from ..metrics import Certificate, certify, clopper_pearson, rmse, suboptimality, violations
from ..nn import BoundedMLP
from ..programs import along_trajectory, guess, to_trajectory, transcribe
from ..simulation import rollout
from ..solvers import InteriorPoint, Retry, solve_batch
from ..sources import Sampled
from ..storage import output_folder, save, write_atomic
from ..systems import discretise, RK4
from ..systems.zoo import TankLevels
from ..training import Checkpoint, ensemble, fit, KeepBest, LevenbergMarquardt, multiple_shooting
from . import _tanks_model as tanks

STARTS, STEPS, HELD_OUT, FRESH = 16, 2500, 200, 10_000
WIDTH = 50  # scenarios solved at once: the slowest of few is waited for, not the slowest of all
MARGIN = 0.1  # V: the policy is trained against tighter limits than it is judged by
RANGE = 10.0  # V: violations are relative to this


def run_tanks(data: str | None, out: str, *, seed: int = 0, resume: bool = False) -> dict[str, Any]:
    """Runs the whole study and writes `report.md`, `report.json`, figures, model and policy to the folder `out`.

    Args:
        data: CSV file with the columns `uEst, uVal, yEst, yVal, Ts`; None simulates such a record.
        out: folder for the results; created if it is missing.
        seed: of every random number.
        resume: go on from the checkpoint that an interrupted run left in `out`.

    Returns:
        What `report.json` holds.

    Raises:
        ValueError: for a record that fails the checks, or a folder that cannot be written.
    """
    began = time.perf_counter()
    folder = output_folder(out)
    keys = dict(
        zip(("record", "starts", "policy", "train", "select", "test", "drawn"), jr.split(jr.key(seed), 7), strict=True)
    )
    record = tanks.read_record(data) if data else tanks.simulated_record(keys["record"])
    model, rmse_train, rmse_test, signals = identify(record, keys["starts"])
    problem = tanks.control_problem(record.dt)
    loop = _ClosedLoop(jnp.asarray(record.dt))
    checkpoint = folder / "policy.checkpoint"
    if not resume:
        checkpoint.unlink(missing_ok=True)
    save(folder / "model.sciml", {"coordinates": model["coordinates"], "covariance": model["covariance"]})
    # The plant is part of the key, so that a checkpoint from another record is refused instead of continued.
    keys["train"] = jr.fold_in(keys["train"], zlib.crc32(np.asarray(model["coordinates"]).tobytes()))
    learnt = learn(problem, loop, model["coordinates"], keys, Checkpoint(str(checkpoint), every=500))
    save(folder / "policy.sciml", learnt.value)
    nominal = compare(problem, loop, learnt.value, tanks.Scenarios(model["coordinates"]), keys["test"])
    root = jnp.linalg.cholesky(model["covariance"])
    drawn = compare(problem, loop, learnt.value, tanks.Scenarios(model["coordinates"], root), keys["drawn"])
    certificate, bound = nominal[0], nominal[1]
    report = {
        "test_rmse_v": rmse_test, "train_rmse_v": rmse_train, "gap_mean": certificate.gap_mean,
        "gap_p95": certificate.gap_p95, "violation_rate": bound["rate"], "violation_bound_95": bound["bound"],
        "infeasible_of_fresh": bound["infeasible"], "kkt_max": certificate.kkt_max,
        "exact_success_rate": certificate.exact_success_rate,
        "drawn_plants": {"gap_mean": drawn[0].gap_mean, "gap_p95": drawn[0].gap_p95, "violation_rate": drawn[1]["rate"],
                         "violation_bound_95": drawn[1]["bound"], "kkt_max": drawn[0].kkt_max},
        "parameters": model["table"], "starts_failed": model["failed"], "steps": int(learnt.stats.steps),
        **timings(problem, learnt.value, nominal[2][0]),
        "seed": seed, "data": Path(data).name if data else "simulated",
        "scenarios": {"exact": HELD_OUT, "fresh": FRESH},
        "versions": {name: version(name) for name in ("sciml-jax", "jax", "equinox", "diffrax", "optimistix", "optax")},
        "seconds_total": time.perf_counter() - began,
    }  # fmt: skip
    figures(folder, record, signals, nominal, learnt, problem)
    report["seconds_total"] = time.perf_counter() - began
    write_atomic(folder / "report.json", json.dumps(report, indent=2, allow_nan=False))
    write_atomic(folder / "report.md", to_markdown(report))
    print(to_markdown(report))
    return report


def identify(record: tanks.Record, key: PRNGKeyArray) -> tuple[dict[str, Any], float, float, dict[str, Any]]:
    """Coordinates of the plant with covariance, RMSE on training and test record, and the simulated signals."""
    starts = jr.uniform(key, (STARTS, len(tanks.RANGES)), minval=-1.0, maxval=1.0)
    u0 = record.u[0]
    found = multiple_shooting(
        starts, partial(tanks.simulate, dt=record.dt), record.u, record.y, length=32,
        x0=jnp.stack([7.0 * jnp.ones(()), record.y[0], u0, jnp.zeros(())]), align=lambda x, y: x.at[1].set(y),
        prior=partial(tanks.prior, u0=u0),
    )  # fmt: skip
    if not bool(is_successful(found.result)):
        fix = "look at the record: units, columns, and a lower level that answers the pump"
        raise invalid("data", "a record that no start could follow", "a record of two cascaded tanks", fix)
    coordinates, n = found.value.model, record.y.size
    train, _ = tanks.simulate(coordinates, found.value.starts[0], record.u, record.dt)
    # Mean squared error of the estimate, noise and the pull of the prior P together, with G = (JᵀJ + P)⁻¹ and
    # residuals scaled by 1/√n: Σ = G (s²/n JᵀJ + P²/3) G. (Coordinates anywhere in [-1, 1] have a variance of 1/3;
    # s² G alone would take the prior, a regulariser much tighter than that, for knowledge.)
    matrix = found.stats.matrix
    pull = jnp.concatenate([jnp.full(coordinates.size, tanks.PRIOR), jnp.array([0.0, 0.0, 1e-3, 1e-3])])
    noise = jnp.sum((train - record.y) ** 2) / (n - pull.size) / n
    inverse = jnp.linalg.inv(matrix)
    spread = noise * (matrix - jnp.diag(pull)) + jnp.diag(pull**2 / 3)
    covariance = (inverse @ spread @ inverse)[: coordinates.size, : coordinates.size]
    slopes = jax.jacfwd(lambda z: jnp.stack([getattr(tanks.plant(z), name) for name in tanks.RANGES]))(coordinates)
    errors = jnp.sqrt(jnp.diagonal(slopes @ covariance @ slopes.T))
    table = {
        name: {"value": float(getattr(tanks.plant(coordinates), name)), "standard_error": float(error)}
        for name, error in zip(tanks.RANGES, errors, strict=True)
    }
    test = _free_run_on_test(coordinates, record)
    rmse_train = float(rmse(record.y, train))
    rmse_test = float(rmse(record.y_test, test, skip=tanks.INITIALISE))
    model = {"coordinates": coordinates, "covariance": covariance, "table": table, "failed": float(found.stats.failed)}
    return model, rmse_train, rmse_test, {"train": train, "test": test}


def _free_run_on_test(coordinates: Any, record: tanks.Record) -> Any:
    """The simulated test record; its first samples alone give the initial levels, from several starts."""
    n = tanks.INITIALISE
    rest = jnp.stack([record.u_test[0], jnp.zeros(())])
    start = lambda levels: jnp.concatenate([levels, rest])
    simulate = partial(tanks.simulate, dt=record.dt)
    misfit = LeastSquares(lambda levels, batch: simulate(coordinates, start(levels), batch[0])[0] - batch[1])
    guesses = jnp.stack([jnp.array([2.0, 5.0, 8.0]), jnp.full(3, record.y_test[0])], axis=1)
    levels = ensemble(guesses, misfit, (record.u_test[:n], record.y_test[:n]), LevenbergMarquardt(), steps=40).value
    return jax.jit(simulate)(coordinates, start(levels), record.u_test)[0]


class _ClosedLoop(eqx.Module):
    """Rolls a policy `(x, (reference, time to go)) -> u` out on the scenario's plant."""

    dt: Any

    def __call__(self, policy: Any, p: tanks.Scenario) -> Any:
        system = discretise(TankLevels(tanks.plant(p.coordinates)), RK4(is_looped=True), dt=self.dt)
        left = 1.0 - jnp.arange(tanks.HORIZON) / tanks.HORIZON
        return rollout(system, policy, p.x0, (jnp.full(tanks.HORIZON, p.reference), left))


def learn(problem: Any, loop: Any, coordinates: Any, keys: Any, checkpoint: Checkpoint) -> Solution:
    """A policy for fresh scenarios at every step, against slightly tightened limits; the best on a held-out set."""
    policy = BoundedMLP(
        5, 1, lower=tanks.INPUT[0], upper=tanks.INPUT[1], width=32, depth=2, activation=jnp.tanh, key=keys["policy"],
        center=[5.0, 5.0, 3.0, 5.0, 0.5], scale=[3.0, 3.0, 2.0, 2.0, 0.3],
    )  # fmt: skip
    program = along_trajectory(problem, tighten=MARGIN)
    loss = Penalty(program, decide=loop, weight=1000.0)
    scenarios = Sampled(tanks.Scenarios(coordinates), 96)
    held_out = scenarios.draw(1000, key=keys["select"])
    schedule = optax.cosine_decay_schedule(5e-3, STEPS)
    best = KeepBest(score=_Score(loss, held_out), every=500)
    method = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    return fit(
        policy, loss, scenarios, method, steps=STEPS, key=keys["train"], monitor=best, checkpoint=checkpoint,
        trainable=lambda model: model.mlp,
    )  # fmt: skip


class _Score(eqx.Module):
    loss: Penalty
    scenarios: Any

    def __call__(self, policy: Any) -> Any:
        return self.loss(policy, self.scenarios)


def exactly(problem: Any, scenarios: Any) -> Solution:
    """Exact answers for stacked scenarios, failures tried again from other inputs."""
    program, solver, retry = transcribe(problem), InteriorPoint(), Retry(_OtherStart(problem), jr.key(0), attempts=1)
    return solve_batch(program, solver, _starts(problem, scenarios), scenarios, chunk=WIDTH, max_steps=100, retry=retry)


@eqx.filter_jit
def _starts(problem: Any, scenarios: Any) -> Any:
    return jax.vmap(lambda p: guess(problem, jnp.full((tanks.HORIZON, 1), 3.0), p))(scenarios)


@eqx.filter_jit
def _runs(loop: Any, policy: Any, scenarios: Any) -> Any:
    return jax.vmap(lambda p: loop(policy, p))(scenarios)


class _OtherStart(eqx.Module):
    problem: Any

    def __call__(self, z: Any, p: Any, key: PRNGKeyArray) -> Any:
        return guess(self.problem, jr.uniform(key, (tanks.HORIZON, 1), minval=1.0, maxval=5.0), p)


def compare(problem: Any, loop: Any, policy: Any, draw: Callable, key: PRNGKeyArray) -> tuple[Certificate, dict, Any]:
    """The certificate on held-out scenarios, the bound on fresh ones, and what to plot."""
    source, (k_held, k_fresh) = Sampled(draw, 1), jr.split(key)
    program, held = along_trajectory(problem), source.draw(HELD_OUT, key=k_held)
    exact = exactly(problem, held)
    runs = _runs(loop, policy, held)
    certificate = certify(program, runs, held, exact, exact_program=transcribe(problem), scale=RANGE)
    fresh = source.draw(FRESH, key=k_fresh)
    worst = np.asarray(violations(program, _runs(loop, policy, fresh), fresh)) / RANGE
    return certificate, _bound(problem, fresh, worst), (held, runs, exact)


def _bound(problem: Any, fresh: Any, worst: np.ndarray) -> dict[str, Any]:
    """Violation rate and bound over feasible scenarios: a policy without violation proves its scenario feasible, the
    others are put to the exact solver: those that it reports infeasible count apart, any other is a violation."""
    suspects = np.flatnonzero(~(worst <= 1e-3))
    infeasible = 0
    for begin in range(0, suspects.size, WIDTH):
        rows = suspects[begin : begin + WIDTH]
        answers = exactly(problem, _rows(fresh, np.resize(rows, WIDTH)))  # the width that is compiled already
        infeasible += int(np.asarray(answers.result == RESULTS.infeasible)[: rows.size].sum())
    count, feasible = suspects.size - infeasible, worst.size - infeasible
    return {"rate": count / feasible, "bound": clopper_pearson(count, feasible), "infeasible": infeasible}


def _rows(tree: Any, rows: Any) -> Any:
    return jax.tree.map(lambda x: x[rows], tree)


def timings(problem: Any, policy: Any, held: Any) -> dict[str, float]:
    """Microseconds of a policy step and of an exact solve: for a call alone, and per instance in a batch."""
    one, w = _rows(held, 0), (held.reference[0], jnp.ones(()))
    many = jnp.tile(one.x0, (1000, 1))
    single = eqx.filter_jit(lambda policy, x, w: policy(x, w))
    batch = eqx.filter_jit(lambda policy, xs, w: jax.vmap(lambda x: policy(x, w))(xs))
    alone = _rows(held, slice(0, 1))
    return {
        "policy_step_us": _microseconds(lambda: single(policy, one.x0, w), 100),
        "policy_step_us_per_instance_of_1000": _microseconds(lambda: batch(policy, many, w), 100) / 1000,
        "exact_solve_us": _microseconds(lambda: exactly(problem, alone).value, 3),
        f"exact_solve_us_per_instance_of_{HELD_OUT}": _microseconds(lambda: exactly(problem, held).value, 1) / HELD_OUT,
    }


def _microseconds(call: Callable[[], Any], repeats: int) -> float:
    """Median wall time of a call, compiled before."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))


def figures(folder: Path, record: Any, signals: Any, nominal: Any, learnt: Solution, problem: Any) -> None:
    """Measured against simulated, closed loops with their limits, training curve; skipped without Matplotlib."""
    try:
        from ..plotting import closed_loops, gap_histogram, measured_vs_simulated, training_curve

        t = record.dt * np.arange(record.y_test.size)
        fit_axes = measured_vs_simulated(
            t, record.y_test, signals["test"], name="lower level", unit="V", skip=tanks.INITIALISE
        )
    except ImportError as missing:
        print(f"No figures: {missing}")
        return
    held, runs, exact = nominal[2]
    hardest = int(np.argmax(np.abs(np.asarray(held.reference - held.x0[:, 1]))))
    one = lambda tree: _rows(tree, hardest)
    loops = {"policy": one(runs), "exact": to_trajectory(problem, one(exact.value), one(held))}
    reference = np.full(tanks.HORIZON, float(held.reference[hardest]))
    axes = closed_loops(
        loops, references=[None, reference, None], x_limits=[*tanks.LEVELS, None], u_limits=[tanks.INPUT],
        x_names=["upper level", "lower level", "pump lag"], u_names=["pump"], x_units=["V"] * 3, u_units=["V"],
    )  # fmt: skip
    losses = np.asarray(learnt.stats.losses)
    drawn = {
        "record.png": fit_axes, "loops.png": axes[0], "training.png": training_curve(np.arange(losses.size), losses),
        "gaps.png": gap_histogram(_gaps(problem, nominal)),
    }  # fmt: skip
    for name, ax in drawn.items():
        picture = io.BytesIO()
        ax.figure.savefig(picture, dpi=120, bbox_inches="tight")
        write_atomic(folder / name, picture.getvalue())


def _gaps(problem: Any, nominal: Any) -> np.ndarray:
    held, runs, exact = nominal[2]
    return np.asarray(suboptimality(along_trajectory(problem), runs, held, exact, exact_program=transcribe(problem)))


def to_markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    rows = [(k, v) for k, v in report.items() if not isinstance(v, dict)]
    rows += [(f"drawn plants: {k}", v) for k, v in report["drawn_plants"].items()]
    show = lambda v: f"{v:.4g}" if isinstance(v, float) else str(v)
    lines = ["# Cascaded tanks: identified, learned, solved, certified", "", "| quantity | value |", "|---|---|"]
    lines += [f"| {name} | {show(value)} |" for name, value in rows]
    lines += ["", "| parameter | estimate | standard error |", "|---|---|---|"]
    lines += [f"| {k} | {v['value']:.4g} | {v['standard_error']:.2g} |" for k, v in report["parameters"].items()]
    return "\n".join(lines) + "\n"
