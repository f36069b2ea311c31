"""`benchmarks/on_device.py`: its registry of cases, its time, and what it stores."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import device, environment

SPEC = importlib.util.spec_from_file_location("on_device", environment.BENCHMARKS / "on_device.py")
on_device = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(on_device)
LIST = """
import json, sys, device
kept = [[case._asdict() for case in device.cases(small)] for small in (False, True)]
assert "jax" not in sys.modules, "the registry imports JAX"
names = ("item", "contestants", "actions", "x64")
print(json.dumps([[{name: case[name] for name in names} for case in found] for found in kept]))
"""


def test_questions_for_an_accelerator_have_cases() -> None:
    assert {"dc3_qp", "dense_qp", "rosenbrock", "rollout", "dc3_nonconvex"} <= set(on_device.questions())


@pytest.mark.parametrize("name", on_device.questions())
def test_the_registry_is_well_formed(name: str) -> None:
    folder = on_device.questions()[name]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(environment.paths(folder)), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", LIST], env=env, stdout=subprocess.PIPE, check=True)
    full, small = json.loads(done.stdout)
    for cases in (full, small):
        assert cases and len({case["item"] for case in cases}) == len(cases)
        for case in cases:
            assert next(iter(case["contestants"])) == "sciml" and case["actions"]
            for module in case["contestants"].values():
                assert (folder / f"{module.replace('.', '/')}.py").is_file()
    assert not {case["item"] for case in full} & {case["item"] for case in small}


DEVICE = """
import numpy as np
from harness import row
from harness.device import Case
def judge(item, data, outputs):
    return [row(item, "sum", {who: float(found["add"]["y"].sum()) for who, found in outputs.items()})]
def case(item, **contestants):
    return Case(item, lambda: {"x": np.ones(3)}, {"sciml": "ours", **contestants}, {"add": "adding"}, judge)
def cases(small):
    return [case("three ones", other="broken"), case("three more", other="ours")]
"""
OURS = "def prepare(data):\n    return {'add': lambda: {'y': data['x'] + 1}}, {'add': 0.5}\n"


def test_rows_are_stored_as_they_come_and_failures_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, place = tmp_path / "question", tmp_path / "rows"
    folder.mkdir()
    for name, code in (("device", DEVICE), ("ours", OURS), ("broken", "1 / 0\n")):
        (folder / f"{name}.py").write_text(code)
    assert on_device.answer(folder, 100.0, place)
    said = capsys.readouterr().out
    assert "three ones, other" in said and "wall time of adding" in said
    (path,) = place.glob("*.json")
    rows = {(row["item"].split(",")[0], row["metric"]): row for row in json.loads(path.read_text())}
    assert rows["three ones", "sum"]["value"] == 6.0 and rows["three ones", "sum"]["failures"] == 1
    assert rows["three more", "sum"]["rivals"] == {"other": 6.0}
    assert rows["three more", "wall time of adding, upper quartile"]["unit"] == "ms"
    assert rows["three more", "sum"]["command"] == device.COMMAND
    assert path.name == device.file_name(rows["three more", "sum"]["device"])


def test_a_question_is_ended_when_its_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "device.py").write_text("while True:\n    pass\n")
    assert on_device.answer(tmp_path, 0.5, None)
    assert "ended after 0.5 s" in capsys.readouterr().out


def test_a_question_that_cannot_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "device.py").write_text("raise SystemExit(3)\n")
    assert not on_device.answer(tmp_path, 5.0, None)
    assert "FAILED with exit status 3" in capsys.readouterr().out


def test_small_rows_go_nowhere_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = []
    monkeypatch.setattr(
        on_device, "answer", lambda folder, left, place, *options: places.append((place, options)) or True
    )
    on_device.main(["--questions", "dc3_qp", "--small"])
    on_device.main(["--questions", "dc3_qp", "--small", "--out", str(tmp_path)])
    on_device.main(["--questions", "dc3_qp"])
    (small, _), (out, options), (full, none) = places
    assert small is None and out == tmp_path / "dc3_qp" and options == ("--small",) and none == ()
    assert full == environment.BENCHMARKS / "solvers" / "dc3_qp" / "results" / "on_device"


def test_questions_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []
    monkeypatch.setattr(on_device, "answer", lambda folder, left, place, *options: seconds.append(left) or True)
    assert on_device.main(["--minutes", "2", "--questions", "dc3_qp", "dense_qp", "rollout", "--small"]) == 0
    assert seconds == pytest.approx([40, 60, 120], abs=1)  # what one leaves is the others'


@pytest.mark.parametrize(
    ("words", "name"), [("NVIDIA H200", "nvidia-h200.json"), ("x86-64 CPU, 2 cores", "x86-64-cpu-2-cores.json")]
)
def test_a_kind_of_device_has_a_file(words: str, name: str) -> None:
    assert device.file_name(words) == name
