"""`python -m sciml`: whole jobs, end to end, as commands."""

import argparse
import difflib
import os
import sys
from dataclasses import MISSING
from importlib import import_module
from importlib.metadata import version
from typing import Any

STUDIES = {
    "identify": ("Identify", "a dynamical model of measured inputs and outputs, from a CSV file"),
    "tanks": ("Tanks", "identify, control and certify two cascaded water tanks"),
}
"""The class in `sciml.studies` and one line for `--help`, by name on the command line.

Names, not classes: the list is shown without importing JAX, and the environment is set before.
"""


def overview() -> str:
    """What `python -m sciml` prints: the studies."""
    width = max(map(len, STUDIES))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in STUDIES.items()]
    usage = "usage: python -m sciml STUDY [options]\n\nWhole jobs, end to end."
    return "\n".join([usage, "", "studies:", *lines, "", "python -m sciml STUDY --help shows its options."])


def prepare() -> None:
    """The environment of a command; to be called before JAX is imported."""
    # LAPACK calls are parallel over the batch already; threads inside each of them only get in each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # XLA's new fusion emitters double the time to compile; another jaxlib might not know the flag, and would abort.
    if version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"


def parser_of(name: str, options: Any) -> argparse.ArgumentParser:
    """The arguments of a study: its own, then those that all studies have."""
    summary = STUDIES[name][1]
    parser = argparse.ArgumentParser(prog=f"python -m sciml {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    for field in options:
        flag, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
        if field.default is MISSING:
            parser.add_argument(field.name, metavar=field.name.upper(), help=text)
        elif isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true", help=text)
        elif field.default is None:
            parser.add_argument(flag, help=text)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default, help=f"{text} ({field.default})")
    parser.add_argument("--out", default=f"out/{name}", help="folder for the results (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random number (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint of an interrupted run")
    parser.add_argument("--cache", metavar="FOLDER", help="keep what is compiled there, for the next run (off)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs a study; returns the exit status: 0 done, 2 an argument or input is wrong, 130 interrupted."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        fix = f"did you mean `{near[0]}`?" if near else "choose one of them"
        print(f"sciml: got `{name}`; expected a study: {', '.join(STUDIES)}. Likely fix: {fix}", file=sys.stderr)
        return 2
    prepare()
    import jax

    studies = import_module(".studies", __package__)
    study = getattr(studies, STUDIES[name][0])
    options = list(studies.options_of(study))
    chosen = parser_of(name, options).parse_args(rest)
    jax.config.update("jax_enable_x64", True)
    print("sciml: running in float64 (jax_enable_x64 is on for this command)", file=sys.stderr)
    if chosen.cache:
        jax.config.update("jax_compilation_cache_dir", os.path.abspath(chosen.cache))
        # Many small functions together take as long as the few that JAX would keep by itself.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        own = {field.name: getattr(chosen, field.name) for field in options}
        studies.run_study(study(**own), chosen.out, seed=chosen.seed, resume=chosen.resume)
    except ValueError as error:
        print(f"sciml: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sciml: interrupted; `--resume` goes on from the last checkpoint, if training had begun", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
