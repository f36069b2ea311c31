"""The cascaded-tanks study: identify, learn a policy, solve exactly, certify, report."""

import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from ..core import cholesky, invalid, is_successful, one_at_a_time, RESULTS, Solution, Trajectory
from ..losses import LeastSquares, Penalty
from ..metrics import Certificate, certify, clopper_pearson, rmse, suboptimality, violations
from ..nn import BoundedMLP
from ..programs import along_trajectory, guess, OptimalControl, to_trajectory, transcribe
from ..simulation import rollout
from ..solvers import InteriorPoint, Retry, solve_batch
from ..sources import record as measured, Sampled
from ..systems import discretise, RK4
from ..systems.zoo import TankLevels
from ..training import Checkpoint, ensemble, fit, KeepBest, LevenbergMarquardt, multiple_shooting
from . import _tanks_model as tanks
from ._study import AbstractStudy, option, Run

WIDTH = 50  # scenarios solved at once: the slowest of few is waited for, not the slowest of all
MARGIN = 0.1  # V: the policy is trained against tighter limits than it is judged by
RANGE = 10.0  # V: violations are relative to this
_inv = one_at_a_time(jnp.linalg.inv)


class Comparison(eqx.Module):
    """The comparison of a policy with the exact optimum."""

    certificate: Certificate
    """On the held-out scenarios."""
    bound: dict[str, Any]
    """On fresh ones: rate of violations, its upper bound, and how many scenarios are infeasible."""
    scenarios: tanks.Scenario
    """The held-out ones, stacked."""
    runs: Trajectory
    """The policy's closed loops on them."""
    exact: Solution
    """The exact solves of them."""


class _Found(NamedTuple):
    """What the figures show."""

    record: tanks.Record
    simulated: Array
    """The lower level over the test record [V]."""
    comparison: Comparison
    losses: np.ndarray
    problem: OptimalControl


class Tanks(AbstractStudy):
    """Cascaded tanks: identified, learned, solved, certified.

    Identifies the plant from a record, learns a policy for it, solves the same control problem exactly, and certifies
    the policy against the exact solutions.

    Args:
        data: CSV file with the columns `uEst, uVal, yEst, yVal, Ts`; None simulates such a record.
        starts: number of random starts of the identification.
        steps: number of training steps.
        held_out: number of scenarios that are solved exactly.
        fresh: number of scenarios for counting violations.
    """

    data: str | None = option(None, "CSV with columns uEst,uVal,yEst,yVal,Ts; simulated if left out")
    starts: int = 16
    steps: int = 2500
    held_out: int = 200
    fresh: int = 10_000

    def run(self, run: Run) -> tuple[dict[str, Any], Any]:
        """Identifies, learns, solves and certifies, then certifies again with plants drawn from the estimate."""
        names = ("record", "starts", "policy", "train", "select", "test", "drawn")
        keys = dict(zip(names, jr.split(jr.key(run.seed), 7), strict=True))
        record = tanks.read_record(self.data) if self.data else tanks.simulated_record(keys["record"])
        with run.step("identify", f"the plant from {record.y.size} samples"):
            model, errors, signals = identify(record, keys["starts"], self.starts)
            run.save("model.sciml", {"coordinates": model["coordinates"], "covariance": model["covariance"]})
        problem, loop = tanks.control_problem(record.dt), _ClosedLoop(jnp.asarray(record.dt))
        # The plant is part of the key, so that a checkpoint from another record is refused instead of continued.
        keys["train"] = jr.fold_in(keys["train"], zlib.crc32(np.asarray(model["coordinates"]).tobytes()))
        with run.step("learn", f"a policy in {self.steps} steps"):
            checkpoint = run.checkpoint("policy.checkpoint", every=500)
            learnt = learn(problem, loop, model["coordinates"], keys, checkpoint, self.steps)
            run.save("policy.sciml", learnt.value)
        with run.step("certify", f"it on {self.held_out} scenarios solved exactly, and {self.fresh} fresh ones"):
            nominal = self.compare(problem, loop, learnt.value, tanks.Scenarios(model["coordinates"]), keys["test"])
        with run.step("draw", "plants from the covariance of the estimate, and certify again"):
            root = cholesky(model["covariance"])
            uncertain = tanks.Scenarios(model["coordinates"], root)
            drawn = self.compare(problem, loop, learnt.value, uncertain, keys["drawn"])
        with run.step("time", "a step of the policy and an exact solve"):
            times = timings(problem, learnt.value, nominal.scenarios)
        report = {
            **errors, **numbers_of(nominal), "infeasible_of_fresh": nominal.bound["infeasible"],
            "exact_success_rate": nominal.certificate.exact_success_rate, "drawn_plants": numbers_of(drawn),
            "parameters": model["table"], "starts_failed": model["failed"], "steps": int(learnt.stats.steps), **times,
            "data": Path(self.data).name if self.data else "simulated",
            "scenarios": {"exact": self.held_out, "fresh": self.fresh},
        }  # fmt: skip
        return report, _Found(record, signals["test"], nominal, np.asarray(learnt.stats.losses), problem)

    def compare(self, problem: Any, loop: Any, policy: Any, draw: Callable, key: PRNGKeyArray) -> Comparison:
        """The certificate on held-out scenarios, the bound on fresh ones, and data for figures.

        Args:
            problem: what `tanks.control_problem` gives.
            loop: rolls a policy out on a scenario.
            policy: the learned one.
            draw: a scenario from a key.
            key: of both sets of scenarios.
        """
        source, (k_held, k_fresh) = Sampled(draw, 1), jr.split(key)
        program, held = along_trajectory(problem), source.draw(self.held_out, key=k_held)
        exact = exactly(problem, held)
        runs = _runs(loop, policy, held)
        certificate = certify(program, runs, held, exact, exact_program=transcribe(problem), scale=RANGE)
        fresh = source.draw(self.fresh, key=k_fresh)
        worst = np.asarray(violations(program, _runs(loop, policy, fresh), fresh)) / RANGE
        return Comparison(certificate, _bound(problem, fresh, worst), held, runs, exact)

    def figures(self, found: _Found) -> dict[str, Any]:
        """Measured against simulated, closed loops with their limits, training curve, gaps."""
        from ..plotting import closed_loops, gap_histogram, measured_vs_simulated, training_curve

        record, problem = found.record, found.problem
        held, runs, exact = found.comparison.scenarios, found.comparison.runs, found.comparison.exact
        t = record.dt * np.arange(record.y_test.size)
        fit_axes = measured_vs_simulated(
            t, record.y_test, found.simulated, name="lower level", unit="V", skip=tanks.INITIALISE
        )
        hardest = int(np.argmax(np.abs(np.asarray(held.reference - held.x0[:, 1]))))
        one = lambda tree: _rows(tree, hardest)
        loops = {"policy": one(runs), "exact": to_trajectory(problem, one(exact.value), one(held))}
        reference = np.full(tanks.HORIZON, float(held.reference[hardest]))
        axes = closed_loops(
            loops, references=[None, reference, None], x_limits=[*tanks.LEVELS, None], u_limits=[tanks.INPUT],
            x_names=["upper level", "lower level", "pump lag"], u_names=["pump"], x_units=["V"] * 3, u_units=["V"],
        )  # fmt: skip
        gaps = suboptimality(along_trajectory(problem), runs, held, exact, exact_program=transcribe(problem))
        return {
            "record.png": fit_axes, "loops.png": axes[0],
            "training.png": training_curve(np.arange(found.losses.size), found.losses),
            "gaps.png": gap_histogram(np.asarray(gaps)),
        }  # fmt: skip


def numbers_of(comparison: Comparison) -> dict[str, float]:
    """The numbers of a comparison that the report shows."""
    certificate, bound = comparison.certificate, comparison.bound
    return {
        "gap_mean": certificate.gap_mean, "gap_p95": certificate.gap_p95, "violation_rate": bound["rate"],
        "violation_bound_95": bound["bound"], "kkt_max": certificate.kkt_max,
    }  # fmt: skip


def identify(record: tanks.Record, key: PRNGKeyArray, count: int) -> tuple[dict[str, Any], dict, dict[str, Any]]:
    """Coordinates of the plant with covariance, RMSE on training and test record, and the simulated signals."""
    starts = jr.uniform(key, (count, len(tanks.RANGES)), minval=-1.0, maxval=1.0)
    u0 = record.u[0]
    found = multiple_shooting(
        starts, measured(record.y, record.u, dt=record.dt), length=32, simulate=partial(tanks.segment, dt=record.dt),
        x0=jnp.stack([7.0 * jnp.ones(()), record.y[0], u0, jnp.zeros(())]), align=lambda x, y: x.at[1].set(y[0]),
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
    inverse = _inv(matrix)
    spread = noise * (matrix - jnp.diag(pull)) + jnp.diag(pull**2 / 3)
    covariance = (inverse @ spread @ inverse)[: coordinates.size, : coordinates.size]
    slopes = jax.jacfwd(lambda z: jnp.stack([getattr(tanks.plant(z), name) for name in tanks.RANGES]))(coordinates)
    standard = jnp.sqrt(jnp.diagonal(slopes @ covariance @ slopes.T))
    table = {
        name: {"value": float(getattr(tanks.plant(coordinates), name)), "standard_error": float(error)}
        for name, error in zip(tanks.RANGES, standard, strict=True)
    }
    test = _free_run_on_test(coordinates, record)
    errors = {
        "test_rmse_v": float(rmse(record.y_test, test, skip=tanks.INITIALISE)),
        "train_rmse_v": float(rmse(record.y, train)),
    }
    model = {"coordinates": coordinates, "covariance": covariance, "table": table, "failed": float(found.stats.failed)}
    return model, errors, {"train": train, "test": test}


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


def learn(problem: Any, loop: Any, coordinates: Any, keys: Any, checkpoint: Checkpoint, steps: int) -> Solution:
    """A policy for fresh scenarios at every step, against slightly tightened limits; the best on a held-out set."""
    policy = BoundedMLP(
        5, 1, lower=tanks.INPUT[0], upper=tanks.INPUT[1], width=32, depth=2, activation=jnp.tanh, key=keys["policy"],
        center=[5.0, 5.0, 3.0, 5.0, 0.5], scale=[3.0, 3.0, 2.0, 2.0, 0.3],
    )  # fmt: skip
    program = along_trajectory(problem, tighten=MARGIN)
    loss = Penalty(program, decide=loop, weight=1000.0)
    scenarios = Sampled(tanks.Scenarios(coordinates), 96)
    held_out = scenarios.draw(1000, key=keys["select"])
    schedule = optax.cosine_decay_schedule(5e-3, steps)
    best = KeepBest(score=_Score(loss, held_out), every=500)
    method = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    return fit(
        policy, loss, scenarios, method, steps=steps, key=keys["train"], monitor=best, checkpoint=checkpoint,
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
    alone, count = _rows(held, slice(0, 1)), held.reference.shape[0]
    return {
        "policy_step_us": _microseconds(lambda: single(policy, one.x0, w), 100),
        "policy_step_us_per_instance_of_1000": _microseconds(lambda: batch(policy, many, w), 100) / 1000,
        "exact_solve_us": _microseconds(lambda: exactly(problem, alone).value, 3),
        f"exact_solve_us_per_instance_of_{count}": _microseconds(lambda: exactly(problem, held).value, 1) / count,
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
