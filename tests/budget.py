"""CPU seconds of the tests of each folder, against the budgets in `pyproject.toml`.

A table stands at the end of every longer run, whatever the number of workers. `--check-budgets` makes the run fail if
a folder needs half as much again as its budget. Processors differ, and so do versions of XLA: each worker first
compiles one fixed function, whose time against the one in `pyproject.toml` scales all budgets, upwards only.
"""

import os
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXCESS = 1.5  # a run of the same tests on the same machine varies by a fifth
COLLECTING = "(collecting)"


def settings() -> dict[str, Any]:
    """The table `[tool.sciml]` of `pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["sciml"]


def seconds() -> float:
    """CPU seconds of this process and of its children that have ended, user and system, all threads."""
    return sum(os.times()[:4])


def folder_of(nodeid: str) -> str:
    """`tests/systems/zoo/test_zoo.py::test` -> `systems`; files beside the folders are `.`"""
    parts = nodeid.split("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "."


def reference() -> float:
    """CPU seconds to compile one fixed function, of the kind that the suite spends its time on."""
    import jax
    import jax.numpy as jnp

    def step(carry: Any) -> Any:
        i, x, A = carry
        factor = jnp.linalg.cholesky(A @ A.T + jnp.eye(6))
        x = jax.scipy.linalg.cho_solve((factor, True), jnp.sin(x) - A @ x)
        return i + 1, x, A + jnp.outer(x, jnp.cos(x))

    def loop(x: Any, A: Any) -> Any:
        return jax.lax.while_loop(lambda carry: (carry[0] < 9) & (carry[1][0] < 9.0), step, (0, x, A))[1]

    def run(x: Any, A: Any) -> Any:
        for _ in range(4):
            x = loop(x, A) + jax.jacfwd(lambda x: step((0, x, A))[1])(x) @ x
        return x

    start = seconds()
    jax.jit(jax.vmap(run)).lower(jnp.ones((4, 6)), jnp.ones((4, 6, 6))).compile()
    return seconds() - start


def over_budget(spent: dict[str, float], budgets: dict[str, float], scale: float) -> list[str]:
    """What is wrong, folder by folder."""
    wrong = []
    for folder, cost in sorted(spent.items()):
        if folder == COLLECTING:
            continue
        if folder not in budgets:
            wrong.append(f"tests/{folder} has no budget: add it to [tool.sciml.budgets] in pyproject.toml")
        elif cost > EXCESS * scale * budgets[folder]:
            limit = EXCESS * scale * budgets[folder]
            wrong.append(f"tests/{folder} took {cost:.0f} CPU-s, more than {limit:.0f}: compile less, or raise it")
    return wrong


class Budgets:
    """The pytest plugin: counts in every worker, adds up and reports in the process that started them."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.spent: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.references: list[float] = []
        self.wrong: list[str] = []
        self.is_worker = hasattr(config, "workerinput")
        self.is_alone = not self.is_worker and not getattr(config.option, "numprocesses", None)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self):
        if self.config.option.check_budgets and (self.is_worker or self.is_alone):
            self.references.append(reference())
        start = seconds()
        try:
            return (yield)
        finally:
            self.spent[COLLECTING] += seconds() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        start = seconds()
        try:
            return (yield)
        finally:
            cost = seconds() - start
            self.spent[folder_of(item.nodeid)] += cost
            self.files[item.nodeid.split("::")[0]] += cost

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any):
        told = getattr(node, "workeroutput", {}).get("budgets")
        if told:  # a worker that crashed says nothing
            self.spent.update(told["spent"])
            self.files.update(told["files"])
            self.references += told["references"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session):
        if self.is_worker:
            told = {"spent": dict(self.spent), "files": dict(self.files), "references": self.references}
            self.config.workeroutput["budgets"] = told
        elif self.config.option.check_budgets:
            self.wrong = over_budget(self.spent, settings()["budgets"], self.scale())
            if self.wrong and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def scale(self) -> float:
        """How much slower than where the budgets were measured; 1 where it is faster."""
        if not self.references:
            return 1.0
        return max(1.0, sum(self.references) / len(self.references) / settings()["reference"])

    def pytest_terminal_summary(self, terminalreporter: Any):
        total = sum(self.spent.values())
        if total < 60 and not self.config.option.check_budgets and not self.config.option.costs:
            return
        write, budgets = terminalreporter.write_line, settings()["budgets"]
        terminalreporter.section("CPU seconds by folder")
        write(f"{'folder':<14} {'CPU-s':>7} {'budget':>7}")
        for folder, cost in self.spent.most_common():
            write(f"{folder:<14} {cost:>7.0f} {budgets.get(folder, ''):>7}")
        write(f"{'sum':<14} {total:>7.0f} {sum(budgets.get(folder, 0) for folder in self.spent):>7}")
        if self.references:
            mean = sum(self.references) / len(self.references)
            told = f"the reference compiles in {mean:.1f} CPU-s, {settings()['reference']:.1f} where they were measured"
            write(f"budgets times {self.scale():.2f}: {told}")
        if self.config.option.costs:
            terminalreporter.section("CPU seconds by file")
            for file, cost in self.files.most_common(self.config.option.costs):
                write(f"{cost:>7.1f} {file}")
        for line in self.wrong:
            write(f"BUDGET: {line}", red=True)
