"""Examples that run: the code blocks of public docstrings, each by itself, all in one fresh interpreter.

Defaults of a reader: single precision, default warnings, an empty folder.
"""

import ast
import inspect
import json
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sciml

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python[ ]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)


def is_folder(top: str, name: str) -> bool:
    """Whether a name is a public folder inside a folder, such as `systems.zoo`."""
    value = getattr(getattr(sciml, top), name)
    return hasattr(value, "__path__") and value.__name__ == f"sciml.{top}.{name}"  # other packages are imported there


TOP = [name for name in dir(sciml) if inspect.ismodule(getattr(sciml, name))]
NESTED = [f"{top}.{name}" for top in TOP for name in dir(getattr(sciml, top)) if is_folder(top, name)]
IMPORTS = (
    "import jax\nimport jax.numpy as jnp\nimport sciml\n"  # the API page says that examples take these for granted
)

# What a user calls first: each has an example.
FACE = """
    programs.Program programs.QuadraticProgram programs.OptimalControl programs.transcribe programs.describe
    solvers.solve solvers.solve_batch solvers.InteriorPoint solvers.InteriorPointQP solvers.SQP solvers.ADMM
    solvers.BoxNewton training.fit losses.Penalty losses.AugmentedLagrangian losses.LeastSquares metrics.certify
    sources.Uniform sources.Sampled sources.Minibatches sources.Windows sources.Fixed nn.TreeMLP nn.BoundedMLP
    simulation.simulate simulation.rollout storage.save training.LevenbergMarquardt simulation.KalmanFilter
    simulation.ExtendedKalmanFilter simulation.MovingHorizon simulation.filter_states policies.OutputFeedback
    policies.plan policies.ILQR policies.Gradient policies.CEM policies.MPPI
    policies.lqr policies.lqi policies.finite_lqr systems.dare systems.care systems.discrete_lyapunov
    systems.continuous_lyapunov systems.linearise
    metrics.identifiability metrics.whiteness metrics.input_correlation
    training.edmd training.sparse.sindy systems.models.SINDy systems.models.Polynomial systems.models.koopman
    nn.ResMLP nn.InputConvexMLP nn.PositiveDefiniteNet nn.KAN nn.FiniteBasis nn.maps.BoundedSingularValues
    sources.record sources.stack simulation.replay losses.FreeRun losses.Regularised losses.DerivativeMatching
    systems.models.NeuralODE systems.models.StateSpace systems.models.GreyBox training.subspace
    nn.maps.Orthogonal sources.signals.steps sources.signals.multisine sources.signals.prbs sources.signals.sine
""".split()

RUN = """
import json, sys, traceback
for name, code in json.load(open("examples.json")).items():
    try:
        exec(compile(code, name, "exec"), {})
    except Exception:
        print(json.dumps([name, traceback.format_exc()]), flush=True)
    else:
        print(json.dumps([name, None]), flush=True)
"""


def examples() -> dict[str, str]:
    """The code of every public docstring that has some, by the member's name."""
    found = {}
    for folder in TOP + NESTED:
        package = operator.attrgetter(folder)(sciml)
        for name in dir(package):
            text = inspect.getdoc(getattr(package, name)) if not name.startswith("_") else None
            if blocks := BLOCK.findall(re.sub(r"^ +(?=```)", "", inspect.cleandoc(text or ""), flags=re.MULTILINE)):
                found[f"{folder}.{name}"] = IMPORTS + "\n".join(inspect.cleandoc(block) for block in blocks)
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What each example raised, or None."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "examples.json").write_text(json.dumps(EXAMPLES), encoding="utf-8")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env |= {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith('["'))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example_runs(name: str, errors: dict[str, str | None]):
    assert errors[name] is None, f"{name}\n{errors[name]}"


@pytest.mark.parametrize("name", FACE)
def test_face_has_an_example_that_asserts(name: str):
    assert name in EXAMPLES, f"`sciml.{name}` has no example: end its docstring with `Examples:` and a Python block"
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(EXAMPLES[name])))
