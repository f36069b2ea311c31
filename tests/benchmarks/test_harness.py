"""`benchmarks/harness`: contestants in turns, rows, command lines, and questions of many examples."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
import pytest
from harness import contestants, environment, examples, runs

NAMES = {"scipy_ivp": "SciPy"}
FIELDS = "item metric value unit target better rivals failures versions commit device date command"


CONTESTANT = """
def prepare(data):
    def broken():
        raise SystemExit(3)
    return {"double": lambda: {"y": 2 * data["x"]}, **({"broken": broken} if "broken" in data else {})}, {"double": 0.5}
"""


def test_contestants_take_turns_and_failures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(CONTESTANT)
    (tmp_path / "theirs.py").write_text(CONTESTANT.replace('if "broken" in data', "if True"))
    monkeypatch.setattr(contestants, "SHORTEST", 1e-6)
    monkeypatch.setattr(contestants, "REPETITIONS", 3)
    entered = {"sciml": (sys.executable, "mine"), "other": (sys.executable, "theirs")}
    record = harness.measure(entered, tmp_path, {"x": np.arange(3.0)}, budget=0.1)
    assert record["failures"] == ["other"]
    report = record["contestants"]["sciml"]
    np.testing.assert_array_equal(report["outputs"]["double"]["y"], [0.0, 2.0, 4.0])
    assert len(report["cpu_s"]["double"]) == 3 and report["compile_s"] == {"double": 0.5}
    rows = harness.finish(harness.time_rows("item", record, {"double": "doubling"}), record, "command")
    assert {row["metric"] for row in rows} >= {"CPU time of doubling", "compile time of doubling"}
    assert all(row["failures"] == 1 for row in rows)


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        ("--rivals-python x", True),
        ("--rivals-python x --seeds 2 1 0", True),
        ("--rivals-python x --seeds 0", False),
        ("--rivals-python x --lanes 5", False),
        ("", False),
    ],
)
def test_only_a_complete_run_is_stored_by_default(
    words: str, stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "pin", lambda core: None)
    monkeypatch.setattr(sys, "argv", ["run.py", *words.split()])
    folder = tmp_path / "question"
    parser = harness.command_line(folder, "words", (0, 1))
    parser.add_argument("--lanes", type=int, default=8)
    run = harness.Run(folder, parser, lambda args: args.lanes == 8)
    record = {"contestants": {"sciml": {"outputs": {}}}, "failures": [], "versions": {}}
    run.add([harness.solved_row("i", "solved", {"sciml": 2}, 3)], record, "case", verdicts=4)
    run.add([harness.row("i", "m", {"sciml": 1.0})], record)
    assert run.args.out == (folder / "results" / "question.json" if stored else None)
    assert folder.exists() == stored
    assert [(row["target"], row["failures"]) for row in run.rows] == [(3, 1), (None, 0)]
    if stored:
        assert json.loads(run.args.out.read_text()) == run.rows
        raw = json.loads((folder / "results" / "raw" / "question.json").read_text())
        assert raw["case"]["verdicts"] == 4 and raw["case"]["contestants"] == {"sciml": {}}


def test_ratios_are_paired() -> None:
    record = {"contestants": {"sciml": {"cpu_s": {"a": [1.0, 4.0, 3.0]}}, "x": {"cpu_s": {"a": [2.0, 4.0]}}}}
    assert harness.paired(record, ("sciml", "a"), ("x", "a")) == 0.75
    assert harness.paired(record, ("sciml", "a"), ("y", "a")) is None


def test_rows_have_what_the_report_expects() -> None:
    rows = harness.finish([harness.row("i", "m", {"sciml": 1.0, "x": 2.0})], {"failures": [], "versions": {}}, "c")
    assert set(rows[0]) == set(FIELDS.split()) and rows[0]["rivals"] == {"x": 2.0}


def test_one_thread_is_asked_of_every_library(tmp_path: Path) -> None:
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS"} <= set(environment.child(tmp_path))
    assert environment.child(tmp_path, x64=False, MINE="1")["JAX_ENABLE_X64"] == "0"


def test_versions_name_what_a_rival_requires(tmp_path: Path) -> None:
    (tmp_path / "rivals").mkdir()
    (tmp_path / "rivals" / "requirements.txt").write_text("# of the rivals\npytest==1\nno-such-package>=2\n")
    assert environment.required(tmp_path) == ["pytest", "no-such-package"]
    found = environment.versions(environment.required(tmp_path))
    assert found["pytest"] == pytest.__version__ and "no-such-package" not in found


def test_the_commit_says_whether_the_library_was_as_committed(tmp_path: Path) -> None:
    git = lambda *words: subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    assert environment.commit(tmp_path) is None
    environment.commit.cache_clear()
    (tmp_path / "sciml").mkdir()
    (tmp_path / "sciml" / "a.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    (tmp_path / "results.json").write_text("[]")  # what a benchmark writes leaves the library as it is
    clean = environment.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{7}", clean)
    (tmp_path / "sciml" / "a.py").write_text("changed = True")
    assert environment.commit(tmp_path) == clean  # a run has one commit, the one that it began with
    environment.commit.cache_clear()
    assert environment.commit(tmp_path) == f"{clean} dirty"


CASE = """
from harness.examples import Metric
METRICS = {"error": Metric(target=1e-9)}
def instance(seed):
    import numpy as np
    return {"x": np.arange(3.0) + seed}
def answer(x):
    return 2 * x
def judge(data, found):
    return {"error": abs(found["double"]["y"] - answer(data["x"])).max()}
"""
FOR_SOME = """
def prepare(case, data):
    if case.__name__ != "cases.plain":
        return None
    return {"double": lambda: {"y": case.answer(data["x"]) + 1}}, {}
"""


@pytest.fixture
def question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cases, a contestant of ours for both, a rival for one of them."""
    for name in ("cases", "ours", "rivals"):
        (tmp_path / "doubling" / name).mkdir(parents=True)
    folder = tmp_path / "doubling"
    (folder / "cases" / "plain.py").write_text(CASE)
    (folder / "cases" / "one_seed.py").write_text(CASE + "SEEDS = (5,)\n")
    (folder / "ours" / "numpy_alone.py").write_text(
        "def prepare(case, data):\n    return {'double': lambda: {'y': 2 * data['x']}}, {'double': 0.5}\n"
    )
    (folder / "rivals" / "off_by_one.py").write_text(FOR_SOME)
    monkeypatch.setattr(environment, "pin", lambda core: None)
    monkeypatch.setattr(contestants, "SHORTEST", 1e-6)
    monkeypatch.setattr(contestants, "REPETITIONS", 3)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "cases"]:
        del sys.modules[name]


def test_a_question_of_many_examples_finds_its_cases_and_contestants(question: Path) -> None:
    options = ["--rivals-python", sys.executable, "--budget", "0.1"]
    run = examples.main(
        str(question / "run.py"), "words", actions={"double": "doubling"}, names={"off_by_one": "Rival"}, argv=options
    )
    by = {(row["item"], row["metric"]): row for row in run.rows}
    assert {item for item, _ in by} == {"plain, seed 0", "plain, seed 1", "one seed, seed 5"}
    error = by["plain, seed 1", "error"]
    assert (error["value"], error["rivals"], error["target"]) == (0.0, {"Rival": 1.0}, 1e-9)
    alone = by["one seed, seed 5", "error"]  # the rival is not for this case, which is no failure
    assert alone["rivals"] == {} and alone["failures"] == 0
    assert by["plain, seed 0", "times less CPU time than Rival, doubling"]["better"] == "higher"
    assert error["command"] == "python doubling/run.py --rivals-python PATH"
    stored = json.loads((question / "results" / "doubling.json").read_text())
    assert stored == run.rows and set(stored[0]) == set(FIELDS.split())


def test_a_case_can_be_run_again_without_the_others(question: Path) -> None:
    options = ["--rivals-python", sys.executable, "--budget", "0.1"]
    first = examples.main(str(question / "run.py"), "words", actions={"double": "doubling"}, argv=options)
    path = question / "results" / "doubling.json"
    path.write_text(json.dumps([{**row, "date": "2020-01-01"} for row in first.rows]))
    (question / "baselines").mkdir()
    (question / "baselines" / "by_hand.py").write_text((question / "ours" / "numpy_alone.py").read_text())
    options += ["--cases", "plain"]
    examples.main(str(question / "run.py"), "words", actions={"double": "doubling"}, argv=options)
    rows, raw = json.loads(path.read_text()), json.loads((path.parent / "raw" / path.name).read_text())
    assert {row["item"] for row in rows if row["date"] == "2020-01-01"} == {"one seed, seed 5"}
    (error,) = [row for row in rows if (row["item"], row["metric"]) == ("plain, seed 1", "error")]
    assert error["rivals"] == {"by hand": 0.0, "off by one": 1.0} and set(raw) == {row["item"] for row in rows}


def test_a_run_without_the_rivals_is_not_stored(question: Path) -> None:
    run = examples.main(
        str(question / "run.py"), "words", actions={"double": "doubling"}, argv=["--cases", "plain", "--seeds", "3"]
    )
    assert {row["item"] for row in run.rows} == {"plain, seed 3"} and not (question / "results").exists()
    with pytest.raises(SystemExit):
        examples.main(str(question / "run.py"), "words", actions={}, argv=["--cases", "none"])


SLOW = """
import itertools, time
count = itertools.count(1)
def prepare(data):
    return {"sleep": lambda: time.sleep(0.05) or {"calls": next(count)}}, {}
"""


def test_a_long_action_is_called_once_and_that_call_is_timed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SLOW)
    entered = {"sciml": (sys.executable, "mine")}
    record = contestants.measure(entered, tmp_path, {"x": np.zeros(1)}, budget=0.01, long=True)
    report = record["contestants"]["sciml"]
    assert len(report["wall_s"]["sleep"]) == 1 and report["wall_s"]["sleep"][0] >= 0.05
    assert report["outputs"]["sleep"]["calls"] == 1


def test_a_question_without_rivals_is_complete_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "pin", lambda core: None)
    parser = runs.command_line(tmp_path / "alone", "words", rivals=False)
    run = runs.Run(tmp_path / "alone", parser, lambda args: True, [])
    assert run.args.out == tmp_path / "alone" / "results" / "alone.json"
    assert runs.command(tmp_path / "alone", rivals=False) == "python alone/run.py"


def test_merged_rows_replace_those_of_the_same_item_and_metric(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    harness.merge(path, [{"item": "a", "metric": "m", "value": 1}, {"item": "b", "metric": "m", "value": 2}])
    harness.merge(path, [{"item": "a", "metric": "m", "value": 3}])
    assert [row["value"] for row in json.loads(path.read_text())] == [3, 2]


def test_infinite_numbers_are_dashes() -> None:
    (row,) = harness.finite([harness.row("i", "m", {"sciml": np.inf, "x": 1.0, "y": np.nan})])
    assert row["value"] is None and row["rivals"] == {"x": 1.0}


def test_the_example_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    text = (environment.BENCHMARKS / "README.md").read_text(encoding="utf-8")
    run, case, rival = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    folder = tmp_path / "physics" / "decay"
    for place, code in (("run", run), ("cases/slow", case), ("ours/mine", rival), ("rivals/scipy_ivp", rival)):
        path = folder / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["run.py", "--rivals-python", sys.executable, "--seeds", "0", "--budget", "0.01"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(environment, "pin", lambda core: None)
    spec = importlib.util.spec_from_file_location("decay", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.examples.main(str(folder / "run.py"), "words", actions={"solve": "the solution"}, names=NAMES)
    del sys.modules["cases.slow"], sys.modules["cases"]
    (error,) = [row for row in found.rows if row["metric"] == "error at the end"]
    assert error["value"] <= error["target"] and set(error["rivals"]) == {"SciPy"}
