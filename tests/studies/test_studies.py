"""The registry behind `python -m sciml`, and what `run_study` does for every study: on one that takes no time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import sciml.studies
from sciml.__main__ import main, overview, STUDIES
from sciml.core import invalid
from sciml.storage import load
from sciml.studies import AbstractStudy, option, options_of, Run, run_study


class Toy(AbstractStudy):
    """A toy: doubled.

    More about it.
    """

    data: str | None = option(None, "a file")
    size: int = option(3, "how many")
    scale: float = option(2.0, "by how much")
    quiet: bool = option(False, "say nothing")
    hidden: int = 5

    def run(self, run: Run):
        if self.data == "bad":
            raise invalid("data", "bad", "a good file", "another one")
        with run.step("count", f"to {self.size}"):
            run.save("numbers.sciml", jnp.arange(self.size))
            checkpoint = run.checkpoint("toy.checkpoint", every=7)
            if self.data == "interrupt":
                raise KeyboardInterrupt
        report = {
            "total": self.scale * self.size, "kind": "toy", "resumed": run.resume, "every": checkpoint.every,
            "group": {"a": 1.25, "b": 2}, "parameters": {"k": {"value": 1.0, "standard_error": 0.5}},
        }  # fmt: skip
        return report, self.size

    def figures(self, found):
        if self.quiet:
            raise ImportError("no Matplotlib")
        from sciml.plotting import training_curve

        return {"curve.png": training_curve(range(found), range(1, found + 1))}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(STUDIES, "toy", ("Toy", "double a number"))
    monkeypatch.setattr(sciml.studies, "Toy", Toy, raising=False)


def test_every_public_study_is_in_the_registry_under_its_own_line():
    public = {v for v in vars(sciml.studies).values() if isinstance(v, type) and issubclass(v, AbstractStudy)}
    named = {getattr(sciml.studies, name) for name, _ in STUDIES.values()}
    assert public - {AbstractStudy} == named
    for study in named:
        assert {"out", "seed", "resume", "cache"}.isdisjoint(field.name for field in options_of(study))
        assert study.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_without_a_study_they_are_listed(capsys, toy, arguments):
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.strip() == overview()
    assert "  tanks     identify, control and certify" in told and "  toy       double a number" in told


def test_the_list_needs_no_jax():
    code = "import sys; from sciml.__main__ import main; main([]); assert 'jax' not in sys.modules"
    assert "tanks" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("name", "fix"), [("tansk", "did you mean `tanks`"), ("weather", "choose one of them"), ("--out", "choose one")]
)
def test_an_unknown_study_is_named(capsys, name, fix):
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert f"got `{name}`; expected a study: identify, tanks" in error and fix in error


def test_options_come_from_the_fields(capsys, toy):
    with pytest.raises(SystemExit, match="0"):
        main(["toy", "--help"])
    told = capsys.readouterr().out
    for text in ("--data", "--size", "how many (3)", "--quiet", "--out", "out/toy", "--seed", "--resume", "--cache"):
        assert text in told
    assert "hidden" not in told
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--size", "three"])
    assert "--size: invalid int value: 'three'" in capsys.readouterr().err


def test_a_run_leaves_reports_figures_and_what_it_saves(capsys, toy, tmp_path):
    assert main(["toy", "--size", "4", "--scale", "0.5", "--seed", "3", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["total"], report["seed"], report["resumed"], report["every"]) == (2.0, 3, False, 7)
    assert set(report["seconds"]) == {"count", "figures"} and 0 <= report["seconds_total"] < 60
    assert report["versions"]["jax"]
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.strip() == told.out.strip()
    assert markdown.startswith("# A toy: doubled\n\n| quantity | value |\n| --- | --- |\n| total | 2 |\n| kind | toy |")
    assert "## Group\n\n| name | value |\n| --- | --- |\n| a | 1.25 |\n| b | 2 |" in markdown
    assert "| name | value | standard error |\n| --- | --- | --- |\n| k | 1 | 0.5 |" in markdown
    assert "sciml: [   0 s] count to 4" in told.err
    assert load(tmp_path / "numbers.sciml", jnp.zeros(4, int)).tolist() == [0, 1, 2, 3]
    assert (tmp_path / "curve.png").stat().st_size > 0


CACHED = """
import sys
import jax, jax.numpy as jnp
import sciml.__main__ as command, sciml.studies as studies

class One(studies.AbstractStudy):
    "One."

    def run(self, run):
        return {"one": float(jax.jit(lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2)(0.3))}, None

studies.One = One
command.STUDIES["one"] = ("One", "one")
sys.exit(command.main(["one", "--out", "out", *sys.argv[1:]]))
"""


def test_what_is_compiled_is_kept_where_the_command_says(tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | {"PYTHONPATH": paths}
    for arguments in ([], ["--cache", "kept"]):
        command = [sys.executable, "-c", CACHED, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"out", *arguments[1:]}
    assert any((tmp_path / "kept").iterdir())


def test_without_matplotlib_there_are_no_figures_and_it_says_so(capsys, toy, tmp_path):
    assert main(["toy", "--quiet", "--out", str(tmp_path)]) == 0
    assert "no figures: no Matplotlib" in capsys.readouterr().err
    assert (tmp_path / "report.md").exists() and not (tmp_path / "curve.png").exists()


def test_a_wrong_input_and_an_interruption_have_their_status_and_leave_no_report(capsys, toy, tmp_path):
    assert main(["toy", "--data", "bad", "--out", str(tmp_path)]) == 2
    assert "`data`: got bad; expected a good file" in capsys.readouterr().err
    assert main(["toy", "--data", "interrupt", "--out", str(tmp_path)]) == 130
    assert "`--resume` goes on" in capsys.readouterr().err
    assert main(["toy", "--seed", "-1", "--out", str(tmp_path)]) == 2
    assert "`seed`: got -1; expected an integer >= 0" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_an_old_checkpoint_counts_only_when_resuming(capsys, tmp_path):
    old = tmp_path / "toy.checkpoint"
    old.write_text("state")
    run_study(Toy(quiet=True), str(tmp_path), resume=True)
    assert old.exists() and "nothing to resume" not in capsys.readouterr().err
    run_study(Toy(quiet=True), str(tmp_path))
    assert not old.exists()
    run_study(Toy(quiet=True), str(tmp_path), resume=True)
    assert f"nothing to resume, there is no {old}" in capsys.readouterr().err
