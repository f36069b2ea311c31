"""The interface of a study, and how it runs: arguments, progress, report, figures and resuming."""

import dataclasses
import io
import json
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx

from ..core import invalid
from ..storage import output_folder, save, write_atomic
from ..training import Checkpoint

PACKAGES = ("sciml-jax", "jax", "equinox", "diffrax", "optimistix", "optax")


class Run(eqx.Module):
    """One run of a study: its folder, its seed, and the announcement of its steps."""

    folder: Path
    """Everything that the run writes goes here."""
    seed: int
    """Seed of every random number."""
    resume: bool
    """Whether checkpoints of an earlier run count."""
    began: float
    """When the run began, by `time.perf_counter()`."""
    seconds: dict[str, float] = eqx.field(default_factory=dict)
    """Wall time of each step that has ended [s]."""

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[None]:
        """Announces a step on standard error and records its wall time for the report.

        Args:
            name: one word; the key in `seconds`.
            detail: further text of the announcement.
        """
        start = time.perf_counter()
        print(f"sciml: [{start - self.began:4.0f} s] {name} {detail}".rstrip(), file=sys.stderr, flush=True)
        yield
        self.seconds[name] = time.perf_counter() - start

    def checkpoint(self, name: str, *, every: int) -> Checkpoint:
        """A checkpoint for `fit`, in the folder of the run; one of an earlier run is deleted unless `resume` is set.

        Args:
            name: name of the file.
            every: steps between saves.
        """
        path = self.folder / name
        if not self.resume:
            path.unlink(missing_ok=True)
        elif not path.exists():
            print(f"sciml: nothing to resume, there is no {path}; starting from the beginning", file=sys.stderr)
        return Checkpoint(str(path), every=every)

    def save(self, name: str, tree: Any) -> None:
        """Saves a pytree in the folder of the run.

        Args:
            name: name of the file.
            tree: what `sciml.save` takes.
        """
        save(self.folder / name, tree)


class AbstractStudy(eqx.Module):
    """A complete job behind `python -m sciml NAME`; subclass it for a study of your own.

    A study contains its own steps only; `run_study` does the rest.

    A field made by `option` is an option of the command line. The first line of the docstring is the heading of the
    report.
    """

    @abstractmethod
    def run(self, run: Run) -> tuple[dict[str, Any], Any]:
        """Runs all steps of the study.

        Check the input first, so that a wrong one is reported before any long computation.

        Args:
            run: the folder, the seed, and the announcement of steps.

        Returns:
            The entries of the report (numbers, texts, and dictionaries of them), and whatever `figures` needs.

        Raises:
            ValueError: for an input that the study cannot use.
        """

    def figures(self, found: Any) -> Mapping[str, Any]:
        """The figures by file name, each as Matplotlib `Axes`; none by default. Import `plotting` inside this method.

        Args:
            found: the second value that `run` returns.
        """
        return {}


def option(default: Any, help: str) -> Any:
    """A field of a study that the command line can set: `data` becomes `--data`.

    Args:
        default: the default value; its type is the type of the option, and None stands for a text.
        help: one line for `--help`.
    """
    return eqx.field(default=default, metadata={"help": help})


def argument(help: str) -> Any:
    """A field of a study that the command line needs, without a flag: `train` becomes `TRAIN`.

    Args:
        help: one line for `--help`.
    """
    return eqx.field(metadata={"help": help})


def options_of(study: type[AbstractStudy]) -> Iterator[dataclasses.Field]:
    """The fields of a study that were made by `argument` or `option`.

    Args:
        study: a class.
    """
    return (field for field in dataclasses.fields(study) if "help" in field.metadata)


def run_study(study: AbstractStudy, out: str, *, seed: int = 0, resume: bool = False) -> dict[str, Any]:
    """Runs a study and writes `report.md`, `report.json`, its figures and whatever it saves to the folder `out`.

    The reports are written last, so a folder never holds the report of an unfinished run.

    Args:
        study: the study, with its options.
        out: folder for the results; created if it is missing.
        seed: seed of all random numbers, >= 0.
        resume: whether to continue from the checkpoint of an interrupted run in `out`.

    Returns:
        The content of `report.json`.

    Raises:
        ValueError: for an input that the study cannot use, or a folder that cannot be written.
    """
    if seed < 0:
        raise invalid("seed", seed, "an integer >= 0", "leave it out")
    run = Run(output_folder(out), seed, resume, time.perf_counter())
    entries, found = study.run(run)
    with run.step("figures"):
        _draw(run.folder, study, found)
    report = {
        **entries,
        "seed": seed,
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": dict(run.seconds),
        "seconds_total": time.perf_counter() - run.began,
    }
    text = to_markdown((type(study).__doc__ or "").splitlines()[0].rstrip("."), report)
    write_atomic(run.folder / "report.json", json.dumps(report, indent=2, allow_nan=False))
    write_atomic(run.folder / "report.md", text)
    print(text)
    return report


def _draw(folder: Path, study: AbstractStudy, found: Any) -> None:
    """Writes the figures; says why there are none without Matplotlib."""
    try:
        drawn = study.figures(found)
    except ImportError as missing:
        print(f"sciml: no figures: {missing}", file=sys.stderr)
        return
    for name, axes in drawn.items():
        picture = io.BytesIO()
        axes.figure.savefig(picture, dpi=120, bbox_inches="tight")
        write_atomic(folder / name, picture.getvalue())


def to_markdown(title: str, report: Mapping[str, Any]) -> str:
    """A report as Markdown tables: one for its numbers and texts, and one for each dictionary in it.

    Args:
        title: heading.
        report: entries by name; a dictionary of dictionaries becomes a table with their keys as columns.
    """
    nested = {key: value for key, value in report.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in report.items() if key not in nested}
    lines = [f"# {title}", "", *_table("quantity", plain)]
    for key, value in nested.items():
        lines += ["", f"## {key.replace('_', ' ').capitalize()}", "", *_table("name", value)]
    return "\n".join(lines) + "\n"


def _table(first: str, entries: Mapping[str, Any]) -> list[str]:
    rows = {key: value if isinstance(value, Mapping) else {"value": value} for key, value in entries.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    show = lambda v: f"{v:.4g}" if isinstance(v, float) else str(v)
    lines = [[first, *(column.replace("_", " ") for column in columns)], ["---"] * (1 + len(columns))]
    lines += [[key, *(show(row[column]) if column in row else "" for column in columns)] for key, row in rows.items()]
    return ["| " + " | ".join(line) + " |" for line in lines]
