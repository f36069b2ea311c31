"""The whole study, shrunk: what it writes, and that an interrupted run resumes to the same bits. Minutes: slow."""

import json

import pytest

from sciml.studies import run_study, Tanks
from sciml.training import _first_order

SMALL = Tanks(starts=4, steps=1000, held_out=20, fresh=200)
TIMES = ("seconds", "policy_step_us", "exact_solve_us")


def stripped(folder):
    report = json.loads((folder / "report.json").read_text())
    return {k: v for k, v in report.items() if not k.startswith(TIMES)}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_resumed_run_ends_with_the_same_bits(tmp_path, monkeypatch, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_study(SMALL, str(whole), seed=1)
    for name in ("report.md", "report.json", "model.sciml", "policy.sciml", "record.png", "loops.png", "training.png"):
        assert (whole / name).stat().st_size > 0, name
    report = json.loads((whole / "report.json").read_text())
    assert report["kkt_max"] <= 1e-5
    assert 0 <= report["violation_rate"] <= report["violation_bound_95"] <= 1

    saved = []

    def save_once_then_interrupt(path, state):
        save(path, state)
        saved.append(path)
        if len(saved) == 1:
            raise KeyboardInterrupt

    save = _first_order.save
    monkeypatch.setattr(_first_order, "save", save_once_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_study(SMALL, str(broken), seed=1)
    monkeypatch.setattr(_first_order, "save", save)
    assert (broken / "policy.checkpoint").exists()
    assert not (broken / "report.json").exists()
    run_study(SMALL, str(broken), seed=1, resume=True)
    assert (broken / "policy.sciml").read_bytes() == (whole / "policy.sciml").read_bytes()
    assert (broken / "model.sciml").read_bytes() == (whole / "model.sciml").read_bytes()
    assert stripped(broken) == stripped(whole)
    assert "| test_rmse_v |" in capsys.readouterr().out
