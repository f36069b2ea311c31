"""MkDocs hook: the API pages, from what each public folder of `sciml/` exports, in the order in which one needs it.

`ORDER` says what comes first on a page and under which heading. What it does not name follows by itself, so that a new
member is documented as it appears; abstract classes and the tools of those who write solvers stand under Extending.
"""

import ast
import re
from functools import cache
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

# Pages in the order of a first program: what is asked, who answers, learning, judging; then what that stands on.
PAGES = (
    "programs solvers training training.sparse losses metrics sources sources.signals nn nn.maps systems "
    "systems.models systems.zoo simulation policies storage plotting studies core"
)

ORDER: dict[str, dict[str, str]] = {
    "programs": {
        "Programs": "Program QuadraticProgram OptimalControl",
        "Optimal control": "transcribe guess to_trajectory along_trajectory state_bounds_as_limits PathLimits Shooting",
        "Writing constraints": "le ge between elastic Elastic ElasticProgram",
        "Looking at a program": "describe violation Violation kkt_residual Residual Duals lagrangian bound_multipliers",
    },
    "solvers": {
        "Solve": "solve solve_batch",
        "Quadratic programs": "InteriorPointQP ADMM BoxNewton Moreau MPAX",
        "Nonlinear programs": "InteriorPoint SQP AugmentedLagrangian",
        "Starts and second attempts": "Retry Race Guess",
        "Derivatives of solutions": "KKTAdjoint ActiveSet LeastNorm Smoothed derivative_health Health",
        "Options": "ExactHessian Regularised GaussNewton StageGaussNewton NewtonPolish Sequential Associative",
        "What comes back": "SolveStats",
    },
    "training": {
        "Fit": "fit ensemble pick_member multiple_shooting",
        "Closed forms": "edmd dmd KoopmanStats",
        "Methods": "LevenbergMarquardt",
        "Parameters": "Positive Bounded Ranged",
        "Monitors and checkpoints": "KeepBest Log Event Checkpoint",
        "What comes back": "FitStats SecondOrderStats EnsembleStats ShootingStats",
    },
    "training.sparse": {
        "Sparse identification": "sindy",
        "Methods": "ErrorsInVariables STLSQ Bagging",
        "Equations for STLSQ": "Derivatives WeakForm",
        "What comes back": "SparseStats",
    },
    "losses": {
        "Programs": "Penalty AugmentedLagrangian L1 L2 Smooth",
        "Residuals": "LeastSquares MeanSquares MultipleShooting Mean",
        "Structure": "Sparsity Segments Shot Multipliers Report",
    },
    "metrics": {
        "Certificates": "certify Certificate suboptimality violations clopper_pearson",
        "Forecasts": "forecast_errors ForecastErrors rmse nrmse r2",
        "Tests of residuals": "whiteness input_correlation CorrelationTest",
        "Identifiability": "identifiability sensitivities Identifiability Direction",
        "Uncertainty": "covariance sample_parameters",
    },
    "sources": {
        "Sources": "Uniform Sampled Minibatches Windows Fixed",
        "Records": "read_csv sampling_time split standardise Standardiser",
    },
    "sources.signals": {
        "Standard excitations": "steps multisine schroeder random_binary prbs",
        "Periodic signals": "sine square sawtooth chirp",
        "Smooth and slow": "spline random_walk beta_walk",
        "Noise": "white_noise arma beta beta_autoregression",
    },
    "nn": {
        "Networks": "TreeMLP BoundedMLP ResMLP",
        "Networks with a property": "InputConvexMLP PositiveDefiniteNet",
        "Splines": "KAN FiniteBasis KANLayer",
    },
    "nn.maps": {
        "Stable": "BoundedSingularValues PerronFrobenius Gershgorin",
        "Conserving and dissipating": "Orthogonal SkewSymmetric PositiveDefinite Symmetric",
    },
    "systems": {
        "Systems": "LinearContinuous LinearDiscrete zero_order_hold linearise",
        "Discretisation": "discretise RK4 Heun Midpoint Exact Discretised",
        "Matrix equations": "dare care discrete_lyapunov continuous_lyapunov EquationStats",
        "Smooth functions": "safe_sqrt smooth_max smooth_min",
    },
    "systems.zoo": {
        "All of them": "plants Plant",
        "Oscillators": "UniversalOscillator Pendulum DoublePendulum InvertedPendulum Duffing DuffingControl VanDerPol "
        "VanDerPolLienard double_integrator",
        "Chaotic systems": "Lorenz LorenzControl Thomas ThomasControl Rossler Chua",
        "Chemistry and biology": "Brusselator Autoignition LotkaVolterra SEIR HindmarshRose",
        "Process plants": "Tank TwoTank CascadedTanks TankLevels CSTR",
        "Vehicles and power": "UnderwaterVehicle Actuator SwingEquation",
        "Networks": "RCNetwork five_rooms Gravitation four_bodies Boids",
        "Buildings": "single_zone single_zone_record single_zone_weather",
        "For control": "CartPole PlanarQuadrotor Quadrotor ChainOfMasses",
    },
    "systems.models": {
        "Equations": "GreyBox NeuralODE NetworkODE Lagrangian Hamiltonian PortHamiltonian LiquidTimeConstant",
        "Discrete time": "StateSpace HammersteinWiener Recurrent",
        "Parts of mechanics and networks": "CholeskyMatrix separable Separable Gates edges_of prune",
    },
    "simulation": {
        "Run": "simulate rollout replay free_run",
        "Inputs": "ZeroOrderHold Linear Cubic",
        "Observers": "KalmanFilter ExtendedKalmanFilter MovingHorizon steady_state SteadyKalmanFilter",
        "States of a record": "filter_states smooth_states estimate_states",
        "What comes back": "Gaussian Filtered Smoothed Estimated Window",
    },
    "policies": {
        "Linear quadratic regulators": "lqr lqi finite_lqr LQR LQI FiniteLQR Equilibrium Targets",
        "Trained policies": "NeuralPolicy AffineInError RecurrentPolicy IntegralAction",
        "Predictive control": "MPC MPCReport MPCMemory previews state_and_signal",
        "Output feedback": "OutputFeedback",
        "On the host": "Controller",
        "Planners": "plan ILQR Gradient CEM MPPI shifted PlanStats Feedback",
    },
    "storage": {"Files": "save load read_header"},
    "core": {"What comes back": "Solution Trajectory", "How it ended": "RESULTS is_successful message tally"},
}

# Tools for those who write solvers, losses or programs of another kind: under Extending, after the protocols.
TOOLS = {
    "core": "AbstractTransform resolve is_transform iterate invalid wrong_type explain as_arrays as_floats batch_size "
    "ravel slice_batch stack stop_gradient check_policy policy_start policy_step policy_report "
    "tree_allfinite tree_size tree_where where_needed progress_bar RobustLU DampedInverse cholesky solve_cholesky "
    "solve_triangular one_at_a_time",
    "programs": "flatten FlatProgram Layout unflatten_duals flat_residual bounds constraints Quadratic null_space "
    "StageLimits Stages Staged by_stage by_leaf",
    "solvers": "Point PrimalDual KKTMatrix ProjectedNewton",
    "policies": "Horizon Outcome",
    "storage": "write_atomic output_folder",
}

EXAMPLES = """[How to choose](../how-to-choose.md) says which member suits which job. Examples take `import jax`,
`import jax.numpy as jnp` and `import sciml` for granted; the tests run all of them."""


@cache
def packages() -> tuple[str, ...]:
    """The dotted names of the public packages, in the order of their pages."""
    found = [path.parent.relative_to(ROOT / "sciml").parts for path in (ROOT / "sciml").rglob("__init__.py")]
    names = {".".join(parts) for parts in found if parts and not any(part.startswith("_") for part in parts)}
    known = [name for name in PAGES.split() if name in names]
    return (*known, *sorted(names - set(known)))


@cache
def exports(package: str) -> tuple[str, dict[str, str]]:
    """The docstring of a package, and the first line of each public name, in the order of its `__init__.py`."""
    folder = ROOT.joinpath("sciml", *filter(None, package.split(".")))
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    lines = {}
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        module = folder / f"{node.module}.py" if node.module and node.level == 1 else None
        source = ast.parse(module.read_text(encoding="utf-8")) if module and module.exists() else None
        for name in (alias.asname for alias in node.names if alias.asname):
            if source is None or f"{package}.{name}" in packages():
                continue
            kinds = (ast.ClassDef, ast.FunctionDef)
            found = [n for n in source.body if isinstance(n, kinds) and n.name == name]
            lines[name] = (ast.get_docstring(found[0]) or "").split("\n")[0] if found else ""
    return ast.get_docstring(tree) or "", lines


def groups(package: str) -> dict[str, list[str]]:
    """The names on the page of a package, by heading; under "" what belongs to Extending."""
    names = list(exports(package)[1])
    listed = {title: words.split() for title, words in ORDER.get(package, {}).items()}
    tools = TOOLS.get(package, "").split()
    if stale := [name for names_ in [*listed.values(), tools] for name in names_ if name not in names]:
        raise ValueError(
            f"`{package}`: got {stale} in docs/_api.py; expected names that `sciml.{package}` exports. "
            "Likely fix: remove them from `ORDER` and `TOOLS`, or write their new names"
        )
    placed = {name for names_ in listed.values() for name in names_} | set(tools)
    rest = [name for name in names if name not in placed]
    protocols = [name for name in rest if name.startswith("Abstract")]
    others = [name for name in rest if name not in protocols]
    listed |= {"More" if listed else "Members": others} if others else {}
    return listed | {"": protocols + tools}


def _row(package: str, name: str) -> str:
    return f"| [`{name}`][sciml.{package}.{name}] | {exports(package)[1][name]} |"


def _blocks(package: str, names: list[str]) -> list[str]:
    return [f"::: sciml.{package}.{name}" for name in names]


def page_of(package: str) -> str:
    """What a package is for, a table of what is in it, then every member in the order of the table."""
    title, text = f"# `sciml.{package}`", exports(package)[0]
    parts = {heading: names for heading, names in groups(package).items() if heading and names}
    rows = [_row(package, name) for names in parts.values() for name in names]
    table = ["| | |\n|---|---|\n" + "\n".join(rows)] if len(rows) > 2 else []
    members = [block for heading, names in parts.items() for block in [f"## {heading}", *_blocks(package, names)]]
    hidden = groups(package)[""]
    extend = ", ".join(f"[`{name}`][sciml.{package}.{name}]" for name in hidden)
    more = [f"For classes of your own: {extend}, under [Extending](extending.md)."] if hidden else []
    return "\n\n".join([title, text, *table, *more, *members]) + "\n"


def index() -> str:
    """The face, then the packages."""
    homes = {name: package for package in packages() for name in exports(package)[1]}
    tree = ast.parse((ROOT / "sciml" / "__init__.py").read_text(encoding="utf-8"))
    face = [a.asname for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module for a in n.names]
    first = "Program QuadraticProgram describe solve solve_batch fit simulate rollout save load".split()
    face = [name for name in first if name in face] + [name for name in face if name not in first and name in homes]
    rows = "\n".join(_row(homes[name], name).replace("[`", "[`sciml.", 1) for name in face if name)
    folders = [f"| [`sciml.{name}`]({name}.md) | {exports(name)[0].splitlines()[0]} |" for name in packages()]
    return "\n\n".join(
        [
            "# API",
            EXAMPLES,
            f"## At the top of `sciml`\n\n| | |\n|---|---|\n{rows}",
            "## Packages\n\n| | |\n|---|---|\n" + "\n".join(folders),
            "Protocols, abstract classes and the tools that solvers are made of: [Extending](extending.md).\n",
        ]
    )


def extending() -> str:
    """Protocols and tools, by package."""
    parts = ["# Extending: protocols and tools", "[The guide](../extending.md) shows one of each at work."]
    for package in packages():
        names = groups(package)[""]
        parts += [f"## `sciml.{package}`", *_blocks(package, names)] if names else []
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Every page by its address."""
    return {"api/index.md": index(), **{f"api/{n}.md": page_of(n) for n in packages()}, "api/extending.md": extending()}


def on_config(config):
    """Adds the pages to the navigation."""
    items = [{f"sciml.{name}": f"api/{name}.md"} for name in packages()]
    for entry in config.nav:
        if "API" in entry:
            entry["API"] = ["api/index.md", *items, {"Extending": "api/extending.md"}]
    return config


def on_files(files: Files, config):
    """Adds the pages themselves."""
    for address, text in pages().items():
        files.append(File.generated(config, address, content=text))
    return files


FENCES = re.compile(r"(^ *```.*?^ *```[ ]*$)", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<![\[`\\])`(?:sciml\.)?(?P<path>(?:[a-z]+\.)*)(?P<name>[A-Za-z_]\w*)(\(\))?`(?![\]`])")


@cache
def _homes() -> dict[str, list[str]]:
    homes: dict[str, list[str]] = {}
    for package in packages():
        for name in exports(package)[1]:
            homes.setdefault(name, []).append(package)
    return homes


def linked(text: str, *, home: str = "", is_docstring: bool = False) -> str:
    """Names of members in code spans become links: `solvers.SQP` always, `SQP` and `solve_batch` where one package has
    it or `home` is one of several, and verbs such as `solve`, which are plain words too, in the tables of a page."""

    def link(match: re.Match[str], in_table: bool) -> str:
        name, package = match["name"], match["path"].rstrip(".")
        homes = _homes().get(name, [])
        homes = [home] if home in homes else homes
        is_telling = in_table or name[0].isupper() or "_" in name
        if package not in homes and not (package == "" and len(homes) == 1 and is_telling):
            return match.group()
        return f"[{match.group()}][sciml.{package or homes[0]}.{name}]"

    code = ("#",) if is_docstring else ("#", "    ")
    lines = []
    for line in text.split("\n"):
        in_table = line.startswith("|") and not is_docstring
        lines.append(line if line.startswith(code) else SPAN.sub(lambda m, t=in_table: link(m, t), line))
    return "\n".join(lines)


def on_page_markdown(markdown: str, page, **_):
    """Shows a block that the tests do not run like any other, and links every member that is named."""
    markdown = markdown.replace("```python no-run", "```python")
    if page.file.src_uri.startswith("api/"):
        return markdown
    home = page.file.src_uri.split("/")[0]  # on the pages on solvers, `AugmentedLagrangian` is the solver
    parts = FENCES.split(markdown)
    return "".join(part if part.lstrip().startswith("```") else linked(part, home=home) for part in parts)
