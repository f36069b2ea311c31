"""`benchmarks/report.py`: verdicts, tables between markers, and the check for stale ones."""

import importlib.util
import json
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "report.py"
SPEC = importlib.util.spec_from_file_location("report", SOURCE)
assert SPEC is not None and SPEC.loader is not None
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)


def row(item, value, target=None, better="lower"):
    return {
        "item": item,
        "metric": "time",
        "value": value,
        "unit": "s",
        "target": target,
        "better": better,
        "rivals": {"rival": 2.0},
        "failures": 0,
        "versions": {"jax": "1"},
        "commit": "0a1b2c3 dirty",
        "device": "a device",
        "date": "2020-01-01",
        "command": "python run.py",
    }


@pytest.fixture
def root(tmp_path):
    results = tmp_path / "benchmarks" / "control" / "mpc" / "results"
    (results / "raw").mkdir(parents=True)
    (results / "raw" / "mpc.json").write_text("{}")  # raw data are not rows
    rows = [row("small", 0.5, target=1.0), row("large", 0.5, target=1.0, better="higher"), row("other", 3.0)]
    (results / "mpc.json").write_text(json.dumps(rows))
    return tmp_path


def page(root, text):
    path = root / "README.md"
    path.write_text(text)
    return path


def test_tables_are_written_once_and_then_fresh(root, capsys):
    path = page(root, "before\n\n<!-- results:control/mpc -->\n<!-- /results -->\n\nafter\n")
    assert report.main(["--check"], root) == 1
    assert "| small |" not in path.read_text()
    assert report.main([], root) == 0
    first = path.read_text()
    assert "| small | 0.5 | 2 | ≤ 1 | met |" in first
    assert "| large | 0.5 | 2 | ≥ 1 | missed |" in first
    assert "\na device, 2020-01-01, commit 0a1b2c3 with uncommitted changes, jax 1: `python run.py`\n" in first
    assert first.startswith("before\n") and first.endswith("after\n")
    assert report.main([], root) == 0 and path.read_text() == first
    assert report.main(["--check"], root) == 0
    assert "1 targets met, 1 missed" in capsys.readouterr().out


def test_words_select_rows_and_fenced_markers_stay(root):
    fenced = "```\n<!-- results:control/mpc -->\n<!-- /results -->\n```\n"
    path = page(root, fenced + '<!-- results:control/mpc targets "small" -->\n<!-- /results -->\n')
    report.main([], root)
    text = path.read_text()
    assert text.startswith(fenced)
    assert "| small |" in text and "| large |" not in text and "| other |" not in text


def test_changed_results_make_a_page_stale(root):
    page(root, "<!-- results:control/mpc -->\n<!-- /results -->\n")
    report.main([], root)
    results = root / "benchmarks" / "control" / "mpc" / "results" / "mpc.json"
    results.write_text(json.dumps([row("small", 0.7)]))
    assert report.main(["--check"], root) == 1


def test_a_missing_value_with_a_target_is_missed():
    assert report.verdict(row("a", None, target=1.0)) == "missed"
    assert report.verdict(row("a", None)) == ""


def test_an_unknown_question_is_named(root):
    page(root, "<!-- results:control/none -->\n<!-- /results -->\n")
    with pytest.raises(ValueError, match=r"results:control/none.*expected one of \['control/mpc'\]"):
        report.main([], root)


def test_an_empty_selection_is_refused(root):
    page(root, '<!-- results:control/mpc "nowhere" -->\n<!-- /results -->\n')
    with pytest.raises(ValueError, match="got no row"):
        report.main([], root)


def test_a_row_with_other_fields_is_refused(root):
    results = root / "benchmarks" / "control" / "mpc" / "results" / "mpc.json"
    results.write_text(json.dumps([{"item": "small"}]))
    with pytest.raises(ValueError, match=r"mpc\.json.*got a row with \['item'\]"):
        report.main([], root)


@pytest.mark.parametrize("commit", ["main", "0a1b2c", "0a1b2c3 dirt", ""])
def test_a_commit_that_is_none_is_refused(root, commit):
    results = root / "benchmarks" / "control" / "mpc" / "results" / "mpc.json"
    results.write_text(json.dumps([{**row("small", 0.5), "commit": commit}]))
    with pytest.raises(ValueError, match=r"mpc\.json.*got the commit .*expected a short hash"):
        report.main([], root)


def test_a_row_whose_commit_is_not_known_says_so():
    assert "commit not recorded" in report.table([{**row("small", 0.5), "commit": None}])


def test_rows_of_other_devices_are_a_question_of_their_own(root):
    folder = root / "benchmarks" / "control" / "mpc" / "results" / "on_device"
    folder.mkdir()
    (folder / "a-gpu.json").write_text(json.dumps([row("small, a GPU", 0.1)]))
    path = page(root, "<!-- results:control/mpc/on_device -->\n<!-- /results -->\n")
    report.main([], root)
    assert "| small, a GPU |" in path.read_text() and "| small |" not in path.read_text()
