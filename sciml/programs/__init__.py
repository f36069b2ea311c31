"""Programs: costs with constraints, quadratic programs, optimal control, KKT residuals and violations."""

from ._describe import describe as describe
from ._duals import (
    bound_multipliers as bound_multipliers,
    Duals as Duals,
    flat_residual as flat_residual,
    kkt_residual as kkt_residual,
    lagrangian as lagrangian,
    Residual as Residual,
    Violation as Violation,
    violation as violation,
)
from ._elastic import Elastic as Elastic, elastic as elastic, ElasticProgram as ElasticProgram
from ._flat import FlatProgram as FlatProgram, flatten as flatten, Layout as Layout, unflatten_duals as unflatten_duals
from ._helpers import between as between, ge as ge, le as le
from ._optimal_control import (
    along_trajectory as along_trajectory,
    guess as guess,
    OptimalControl as OptimalControl,
    PathLimits as PathLimits,
    Shooting as Shooting,
    to_trajectory as to_trajectory,
    transcribe as transcribe,
)
from ._program import (
    AbstractProgram as AbstractProgram,
    bounds as bounds,
    constraints as constraints,
    cost as cost,
    Program as Program,
)
from ._quadratic import null_space as null_space, Quadratic as Quadratic, QuadraticProgram as QuadraticProgram
from ._soft_states import StageLimits as StageLimits, state_bounds_as_limits as state_bounds_as_limits
from ._stages import by_leaf as by_leaf, by_stage as by_stage, Staged as Staged, Stages as Stages
