"""Certificates on programs whose optimum is known in closed form."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sciml.core import RESULTS, Solution, stack, Trajectory
from sciml.metrics import certify, suboptimality, violations
from sciml.programs import along_trajectory, OptimalControl, Program, Residual, Shooting, transcribe

# minimise (z0 - p)² + (z1 + 1)² + 1 with z0 + z1 <= 10 and z >= 0: z* = (p, 0), f* = 2 for 0 <= p <= 10
PROGRAM = Program(
    lambda z, p: (z[0] - p) ** 2 + (z[1] + 1.0) ** 2 + 1.0,
    ineq=lambda z, p: {"sum": z[0] + z[1] - 10.0},
    lower=0.0,
)
PS = jnp.linspace(0.5, 5.0, 10)
ZS = jnp.stack([PS, jnp.zeros(10)], axis=1)


class Stats(eqx.Module):
    residual: Residual


def solution(value, results, kkt=1e-9):
    n = len(results)
    kkt = jnp.broadcast_to(jnp.asarray(kkt), (n,))
    residual = jax.vmap(lambda k: Residual(k, 0.5 * k, jnp.zeros(()), jnp.zeros(())))(kkt)
    return Solution(value, stack(results), Stats(residual))


EXACT = solution(ZS, [RESULTS.successful] * 10)


def test_relative_gaps_in_closed_form():
    moved = ZS.at[:, 0].add(jnp.arange(10.0) * 0.1)
    np.testing.assert_allclose(suboptimality(PROGRAM, moved, PS, EXACT), (np.arange(10) * 0.1) ** 2 / 2, atol=1e-14)


def test_gaps_to_a_cost_of_zero_are_guarded():
    free = Program(lambda z, p: z[0] ** 2 * p)
    zs = jnp.array([[0.0], [2.0], [2.0]])
    exact = solution(jnp.array([[0.0], [0.0], [1.0]]), [RESULTS.successful] * 3)
    ps = jnp.ones(3)
    np.testing.assert_array_equal(suboptimality(free, zs, ps, exact), [0.0, np.inf, 3.0])
    np.testing.assert_array_equal(suboptimality(free, zs, ps, exact, floor=8.0), [0.0, 0.5, 3 / 8])
    slope = jax.grad(lambda zs: jnp.sum(suboptimality(free, zs, ps, exact, floor=8.0)))(zs)
    np.testing.assert_allclose(slope[:, 0], 2 * zs[:, 0] / 8)


def test_violations_are_the_largest_of_constraints_and_bounds():
    zs = jnp.array([[1.0, 1.0], [12.0, 0.5], [12.0, -3.0], [jnp.nan, 1.0]])
    np.testing.assert_allclose(violations(PROGRAM, zs, jnp.ones(4)), [0.0, 2.5, 3.0, np.inf])
    np.testing.assert_allclose(violations(PROGRAM, zs, jnp.ones(()), in_axes=None), [0.0, 2.5, 3.0, np.inf])
    equal = Program(lambda z, p: z[0], eq=lambda z, p: z[0] - z[1])
    np.testing.assert_allclose(violations(equal, zs[:3], None), [0.0, 11.5, 15.0])


def test_certificate_by_hand():
    zs = ZS.at[:5, 0].add(0.2).at[5, 1].set(-0.1).at[6, 0].set(jnp.nan).at[7:, 1].set(-1e-5)
    results = [RESULTS.successful] * 8 + [RESULTS.infeasible, RESULTS.stalled]
    exact = solution(ZS, results, jnp.where(jnp.arange(10) < 8, 1e-7 * jnp.arange(10.0), 1.0))
    found = certify(PROGRAM, zs, PS, exact, scale=10.0)
    # compared are 0 ... 4 with a gap of 0.04 / 2 each and 7, whose violation is tolerated and lowers the cost
    costs = np.array([2.04] * 5 + [(1 - 1e-5) ** 2 + 1])
    assert found.gap_mean == pytest.approx(costs.mean() / 2 - 1, rel=1e-12)
    assert found.gap_p95 == pytest.approx(np.percentile(costs / 2 - 1, 95), rel=1e-12)
    counts = found.n, found.solved, found.infeasible, found.compared, found.violations, found.nonfinite
    assert counts == (10, 8, 1, 6, 2, 1)
    assert found.violation_rate == 0.25 and found.exact_success_rate == 0.8
    assert found.violation_bound == pytest.approx(scipy.stats.beta.ppf(0.95, 3, 6), rel=1e-10)
    assert found.kkt_max == pytest.approx(7e-7)


def test_scale_and_tolerance_decide_what_counts():
    zs = ZS.at[:, 1].set(-0.01)
    zs = zs.at[0, 1].set(0.0)
    assert certify(PROGRAM, zs, PS, EXACT).violations == 9
    assert certify(PROGRAM, zs, PS, EXACT, scale=10.0).violations == 0
    assert certify(PROGRAM, zs, PS, EXACT, tol=0.1).violations == 0
    strict = certify(PROGRAM, ZS, PS, EXACT, confidence=0.99)
    assert strict.violation_bound == pytest.approx(1 - 0.01**0.1)


def test_table_states_every_number():
    found = certify(PROGRAM, ZS.at[:, 0].add(0.2).at[0, 1].set(-1.0), PS, EXACT)
    text = str(found)
    assert text == found.table()
    for line in (
        "instances +10",
        r"solved exactly +10 \(100.0%\)",
        "mean gap +2.00%",
        r"1 of 10 \(10.00%\)",
        "<= 39.4",
    ):
        assert re.search(line, text), text


def test_float32():
    ps, zs = PS.astype(jnp.float32), ZS.astype(jnp.float32)
    found = certify(PROGRAM, zs.at[:, 0].add(0.2), ps, solution(zs, [RESULTS.successful] * 10))
    assert found.gap_mean == pytest.approx(0.02, rel=1e-5)


# x_{k+1} = x_k + u_k, cost Σ u² + (x_N - p)², 0 <= x <= 0.6: the unconstrained optimum from x = 0 is u = p / (N + 1)
PROBLEM = OptimalControl(
    dynamics=lambda x, u, w, p: x + u,
    stage=lambda x, u, w, p: u**2,
    terminal=lambda x, p: (x - p) ** 2,
    initial=lambda p: jnp.zeros(()),
    horizon=3,
    x_lower=0.0,
    x_upper=0.6,
)
TARGETS = jnp.array([0.2, 0.4, 0.6])


def inputs(targets):
    return jnp.broadcast_to(targets[:, None] / 4, (targets.size, 3))


def runs(us, result=RESULTS.successful, lost=0, x0=0.0):
    def one(u):
        x = x0 + jnp.concatenate([jnp.zeros(1), jnp.cumsum(u)])
        return Trajectory(jnp.arange(u.size + 1.0), x, u, x, result, jnp.asarray(lost))

    return jax.vmap(one)(us)


def test_optimal_control_compares_trajectories_with_shooting():
    us = inputs(TARGETS)
    exact = solution(Shooting(jnp.cumsum(us, axis=1), us), [RESULTS.successful] * 3)
    programs = {"exact_program": transcribe(PROBLEM)}
    along = along_trajectory(PROBLEM)
    same = certify(along, runs(us), TARGETS, exact, **programs)
    assert same.gap_mean == pytest.approx(0.0, abs=1e-14) and same.violations == 0
    # a factor 1 + s on the input adds s² (3 u² + 9 u²) to the cost of 4 u²
    gaps = suboptimality(along, runs(1.5 * us), TARGETS, exact, **programs)
    np.testing.assert_allclose(gaps, 0.25 * 12 / 4, rtol=1e-12)
    np.testing.assert_allclose(violations(along, runs(1.5 * us), TARGETS), [0.0, 0.0, 1.5 * 0.45 - 0.6], atol=1e-14)


@pytest.mark.parametrize(
    "judged", [certify, suboptimality, lambda program, zs, ps, *_, **__: violations(program, zs, ps)]
)
def test_trajectories_of_another_horizon_or_start_are_refused(judged):
    us = inputs(TARGETS)
    exact = solution(Shooting(jnp.cumsum(us, axis=1), us), [RESULTS.successful] * 3)
    found = lambda zs: judged(along_trajectory(PROBLEM), zs, TARGETS, exact, exact_program=transcribe(PROBLEM))
    for us_other in (us[:, :2], jnp.tile(us, (1, 2))):
        size = us_other.shape[1]
        shape = rf"`z.x`: got shape \({size + 1},\); expected a leading axis of 4, since the problem has a horizon of 3"
        with pytest.raises(ValueError, match=shape + ".*Likely fix: run 3 steps"):
            found(runs(us_other))
    start = "`zs`: got trajectories that do not start at `initial.p.` in 3 of 3 instances, the first at index 0, by 0.4"
    with pytest.raises(ValueError, match=start + ".*Likely fix: roll out from `problem.initial"):
        found(runs(us, x0=0.1))
    found(runs(us, x0=1e-10))  # rounding is no other state
    if judged not in (certify, suboptimality):  # under `jit` nothing can raise
        worst = jax.jit(lambda zs: violations(along_trajectory(PROBLEM), zs, TARGETS))
        assert np.all(np.isinf(worst(runs(us, x0=0.1)))) and np.all(np.isfinite(worst(runs(us))))
    with pytest.raises(TypeError, match="`z`: got a Shooting; expected a `Trajectory`, as `along_trajectory` judges"):
        found(exact.value)
    record = eqx.tree_at(lambda run: run.x, runs(us), {"level": runs(us).x})
    with pytest.raises(ValueError, match="`z.x`: got states .*'level'.*Likely fix: roll out from"):
        violations(along_trajectory(with_records(PROBLEM)), record, TARGETS)


def with_records(problem):
    """The problem with functions that take a record of states, and an initial state that is none."""
    return dataclasses.replace(
        problem,
        stage=lambda x, u, w, p: u**2,
        terminal=lambda x, p: (x["level"] - p) ** 2,
        x_lower=None,
        x_upper=None,
    )


def test_differentiable_where_starts_cannot_be_seen():
    slope = jax.grad(lambda us: jnp.sum(violations(along_trajectory(PROBLEM), runs(us), TARGETS)))(inputs(3 * TARGETS))
    np.testing.assert_allclose(slope[2], [1.0, 1.0, 1.0])  # the last state is 1.35 against 0.6


def test_violations_are_counted_by_name():
    zs = ZS.at[:3, 0].set(11.0).at[2:4, 1].set(-0.5)
    found = certify(PROGRAM, zs, PS, EXACT)
    assert found.violations == 4 and found.violations_by_name == {"ineq['sum']": 3, "lower": 2}
    assert re.search(r"compared \(solved, no violation\) +6 of 10\n +mean gap", found.table())
    assert re.search(
        r"violations > 0.001 of range +4 of 10 \(40.00%\)\n +ineq\['sum'\] +3\n +lower +2\n", found.table()
    )
    us = 2.0 * inputs(TARGETS)
    exact = solution(Shooting(jnp.cumsum(us, axis=1), us), [RESULTS.successful] * 3)
    along = certify(along_trajectory(PROBLEM), runs(us), TARGETS, exact, exact_program=transcribe(PROBLEM))
    assert along.violations_by_name == {"ineq.x_lower": 0, "ineq.x_upper": 1}  # 0.9 > 0.6; 0.6 is allowed


def test_a_diverged_trajectory_violates():
    us = inputs(TARGETS)
    assert np.all(np.isinf(violations(along_trajectory(PROBLEM), runs(us, RESULTS.diverged, 2), TARGETS)))


def test_bounds_on_a_trajectory_leave_its_result_alone():
    program = Program(lambda z, p: jnp.sum(z.x), upper=2.0)
    worst = violations(program, runs(inputs(TARGETS)), TARGETS)
    np.testing.assert_allclose(worst, 1.0)  # the times 0 ... 3 against 2


def test_what_is_no_solution_or_program_is_named(unchecked):
    with pytest.raises(TypeError, match="`exact`: got a .*; expected a batched `Solution`.*and not its `value`"):
        certify(PROGRAM, ZS, PS, EXACT.value)
    with pytest.raises(TypeError, match="`program`: got a function; expected a `Program`"):
        certify(lambda z, p: z[0], ZS, PS, EXACT)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"zs": ZS[:4]}, r"`exact`: got 10 solutions; expected one for each of the 4 decisions"),
        ({"ps": PS[:4]}, r"`ps`: got an array of shape \(4,\); expected a leading axis of 10"),
        ({"zs": {"z": ZS}}, "`exact`: got decisions of structure .*give `exact_program`"),
        ({"scale": 0.0}, "`scale`: got 0.0; expected a positive range"),
        ({"tol": -1.0}, "`tol`: got -1.0; expected a tolerance >= 0"),
        ({"exact": solution(ZS, [RESULTS.infeasible] * 10)}, "`exact`: got no success among 10 solutions, 10 of them"),
        ({"zs": ZS - 1.0}, "`zs`: got violations beyond `tol` in 10 of 10 solved instances"),
        ({"exact": Solution(ZS, EXACT.result, None)}, "`exact`: got stats of type NoneType without `residual`"),
        ({"program": Program(lambda z, p: 0.0 * z[0])}, "`exact`: got a mean exact cost of 0, and 10 of 10 costs"),
    ],
)
def test_what_cannot_be_certified_is_named(change, match):
    given = {"program": PROGRAM, "zs": ZS, "ps": PS, "exact": EXACT} | change
    with pytest.raises(ValueError, match=match):
        certify(**given)
