"""`benchmarks/identify/neuromancer`: the list of examples, the command line, and the cheapest example end to end."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

QUESTION = Path(__file__).resolve().parents[2] / "benchmarks" / "identify" / "neuromancer"


@pytest.fixture(scope="module")
def question() -> ModuleType:
    spec = importlib.util.spec_from_file_location("identify_neuromancer", QUESTION / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_found_by_their_files_in_order(question: ModuleType) -> None:
    names = [example.name for example in question.found()]
    assert names[:4] == ["O1", "O2", "O3", "O3b"] and len(set(names)) == len(names)
    assert [part for _, part in question.chosen("O2")] == [""]
    assert [part for _, part in question.chosen("o11/two_tank")] == ["two_tank"]
    assert len(question.chosen("O11")) == 12


@pytest.mark.parametrize("word", ["O99", "O11/no_such_plant"])
def test_an_unknown_example_is_refused(question: ModuleType, word: str) -> None:
    with pytest.raises(SystemExit, match="expected some of O1, O2"):
        question.chosen(word)


def test_the_brusselators_rates_are_found(question: ModuleType, tmp_path: Path) -> None:
    question.main(["--only", "O2", "--seeds", "0", "--out", str(tmp_path)])
    rows = {row["metric"]: row for row in json.loads((tmp_path / "o2.json").read_text())}
    error = rows["relative error of the parameters"]
    assert 0 < error["value"] <= error["target"] == 1e-8
    assert error["item"] == "O2 Brusselator, two rates, seed 0"
