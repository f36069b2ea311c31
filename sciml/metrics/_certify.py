"""Certificates of learned decisions, against exact solutions of the same program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ScalarLike

from ..core import invalid, is_successful, RESULTS, Solution
from ..programs import AbstractProgram
from ._binomial import clopper_pearson
from ._decisions import exact_costs, judge, relative_gaps


class Certificate(eqx.Module):
    """A report on learned decisions: gaps, violations and KKT residuals, as numbers on the host."""

    gap_mean: float
    """`(mean f(z) - mean f(z*)) / |mean f(z*)|` over the compared instances (solved exactly, no violation)."""
    gap_p95: float
    """95th percentile of the relative gaps of the single compared instances."""
    violation_rate: float
    """`violations / solved`."""
    violation_bound: float
    """One-sided Clopper-Pearson upper bound on the probability of a violation, at `confidence`."""
    violations: int
    """Instances, among the solved ones, that violate by more than `tol` of the range or are not finite."""
    violations_by_name: dict[str, int]
    """The same for each constraint and bound by itself: `{"ineq.outer": 3, "lower.x": 0}`. One decision may count
    several times."""
    nonfinite: int
    """Instances, among the solved ones, whose decision diverged or has no finite cost; they count as violations."""
    compared: int
    """Instances that the gaps are taken over."""
    solved: int
    """Instances that the exact solver claims to have solved, and so proves feasible."""
    infeasible: int
    """Instances that the exact solver reports as infeasible."""
    n: int
    """All instances."""
    exact_success_rate: float
    """`solved / n`."""
    kkt_max: float
    """Largest unscaled KKT residual among the solved instances."""
    tol: float
    """Violation that is tolerated, as a part of the range."""
    confidence: float
    """Of `violation_bound`."""

    def table(self) -> str:
        """The report as text, one number per line with its meaning."""
        other = self.n - self.solved - self.infeasible
        rows = [
            ("instances", f"{self.n}"),
            ("  solved exactly", f"{self.solved} ({self.exact_success_rate:.1%})"),
            ("  infeasible", f"{self.infeasible}"),
            ("  failed otherwise", f"{other}"),
            ("largest KKT residual, exact", f"{self.kkt_max:.1e}"),
            ("compared (solved, no violation)", f"{self.compared} of {self.n}"),
            ("  mean gap", f"{self.gap_mean:.2%}"),
            ("  gap, 95th percentile", f"{self.gap_p95:.2%}"),
            (f"violations > {self.tol:g} of range", f"{self.violations} of {self.solved} ({self.violation_rate:.2%})"),
            *((f"  {name}", f"{count}") for name, count in self.violations_by_name.items() if count),
            ("  of these not finite", f"{self.nonfinite}"),
            (f"violation probability, {100 * self.confidence:.3g} % bound", f"<= {self.violation_bound:.3%}"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)

    def __str__(self) -> str:
        return self.table()


def certify(
    program: AbstractProgram,
    zs: Any,
    ps: Any,
    exact: Solution,
    *,
    exact_program: AbstractProgram | None = None,
    in_axes: Any = 0,
    scale: ScalarLike = 1.0,
    tol: float = 1e-3,
    confidence: float = 0.95,
    floor: ScalarLike = 0.0,
) -> Certificate:
    """Certifies learned decisions against exact solutions: optimality gaps, violations and KKT residuals.

    Use it after training, on instances that are independent of the training data; otherwise the bound is meaningless.
    Violations are counted over the instances that were solved exactly, because others may have no feasible decision.
    Gaps are taken over those instances where the learned decision violates nothing, because a violation can lower
    the cost. It runs on the host.

    Args:
        program: the program that judges `zs`.
        zs: learned decisions, with the leading axis `batch` on every leaf.
        ps: instances, batched as `in_axes` says.
        exact: the batched solution of the same instances, from `solve_batch` or `vmap` of `solve`.
        exact_program: the program that `exact` solves, if it is another one: `transcribe(problem)` if `program` is
            `along_trajectory(problem)`.
        in_axes: 0 or None for all of `ps`, or a prefix of it, as in `jax.vmap`.
        scale: the range `> 0` that violations are divided by, in the constraints' unit.
        tol: largest tolerated violation, as a fraction of the range.
        confidence: confidence level of the bound on the probability of a violation, in (0, 1).
        floor: smallest denominator of the gap of a single instance, as in `suboptimality`.

    Returns:
        A `Certificate`; `print` it.

    Raises:
        ValueError: if leading axes or structures differ, if `scale` or `tol` are out of range, and if a set that a
            number is taken over is empty: nothing solved exactly, nothing to compare, a mean exact cost of zero; if
            trajectories have another horizon or another initial state than the problem of `along_trajectory`.

    Examples:
        ```python
        program = sciml.QuadraticProgram(Q=jnp.eye(2), q=lambda p: -p, lower=0.0)
        ps = jnp.array([[1.0, -1.0], [2.0, 3.0]])
        solve = lambda p: sciml.solve(program, sciml.solvers.BoxNewton(), jnp.zeros(2), p, throw=False)
        learned = 0.9 * jnp.maximum(ps, 0.0)  # what a network might answer
        certificate = sciml.metrics.certify(program, learned, ps, jax.vmap(solve)(ps))
        assert jnp.isclose(certificate.gap_mean, 0.01, atol=1e-4) and certificate.violation_rate == 0.0
        ```
    """
    span = float(np.asarray(scale))
    if not span > 0.0:
        raise invalid("scale", span, "a positive range", "give the span of the limits, in the constraints' unit")
    if not tol >= 0.0:
        raise invalid("tol", tol, "a tolerance >= 0", "give the violation to tolerate as a part of the range")
    reference = np.asarray(exact_costs(program, zs, ps, exact, exact_program, in_axes))
    judged = judge(program, zs, ps, in_axes)
    cost, worst = np.asarray(judged.cost), np.asarray(judged.worst) / span
    solved = np.asarray(is_successful(exact.result)) & np.isfinite(reference)
    infeasible = _has_result(exact, RESULTS.infeasible) | _has_result(exact, RESULTS.contradictory_bounds)
    if not solved.any():
        raise invalid(
            "exact",
            f"no success among {solved.size} solutions, {int(infeasible.sum())} of them infeasible",
            "at least one instance that is solved exactly",
            "look at `exact.result`, and at the limits of the program",
        )
    finite = np.isfinite(cost) & np.isfinite(worst)
    violates = ~(finite & (worst <= tol))
    compared, k, m = solved & ~violates, int((solved & violates).sum()), int(solved.sum())
    beyond = {name: ~(np.asarray(v) / span <= tol) & solved for name, v in judged.by_name.items()}
    gap_mean, gap_p95 = _gaps(cost[compared], reference[compared], floor, f"{k} of {m} solved instances")
    return Certificate(
        gap_mean=gap_mean,
        gap_p95=gap_p95,
        violation_rate=k / m,
        violation_bound=clopper_pearson(k, m, confidence=confidence),
        violations=k,
        violations_by_name={name: int(each.sum()) for name, each in beyond.items()},
        nonfinite=int((solved & ~finite).sum()),
        compared=int(compared.sum()),
        solved=m,
        infeasible=int(infeasible.sum()),
        n=solved.size,
        exact_success_rate=m / solved.size,
        kkt_max=float(_residuals(exact)[solved].max()),
        tol=float(tol),
        confidence=float(confidence),
    )


def _has_result(exact: Solution, result: RESULTS) -> np.ndarray:
    return np.asarray(exact.result == result)


def _gaps(cost: np.ndarray, reference: np.ndarray, floor: ScalarLike, violating: str) -> tuple[float, float]:
    """The gap of the means, and the 95th percentile of the gaps."""
    if not cost.size:
        raise invalid(
            "zs",
            f"violations beyond `tol` in {violating}, so that no gap can be taken",
            "at least one decision without violation",
            "look at `violations(program, zs, ps)`, train with a larger weight on it, or check `scale`",
        )
    mean = abs(float(reference.mean()))
    gaps = np.asarray(relative_gaps(jnp.asarray(cost), jnp.asarray(reference), floor))
    p95 = float(np.percentile(gaps, 95.0)) if np.isfinite(gaps).all() else np.inf
    if mean == 0.0 or not np.isfinite(p95):
        raise invalid(
            "exact",
            f"a mean exact cost of {mean:g}, and {int((reference == 0).sum())} of {reference.size} costs of zero",
            "costs that a relative gap can be taken to",
            "give `floor`, or add a constant that makes the cost of a perfect decision positive",
        )
    return (float(cost.mean()) - float(reference.mean())) / mean, p95


def _residuals(exact: Solution) -> np.ndarray:
    residual = getattr(exact.stats, "residual", None)
    if residual is None:
        got = f"stats of type {type(exact.stats).__name__} without `residual`"
        raise invalid("exact", got, "a solution of `solve` or `solve_batch`", "solve the program with one of `solvers`")
    return np.asarray(jax.vmap(lambda r: r.largest)(residual))
