"""Types, result codes, pytree helpers, the iteration loop of all solvers, and robust linear solves."""

from ._errors import explain as explain, invalid as invalid, wrong_type as wrong_type
from ._failures import checked as checked
from ._iterate import iterate as iterate
from ._keys import check_key as check_key
from ._linalg import (
    cholesky as cholesky,
    one_at_a_time as one_at_a_time,
    solve_cholesky as solve_cholesky,
    solve_triangular as solve_triangular,
)
from ._policy import (
    AbstractPolicy as AbstractPolicy,
    check_policy as check_policy,
    policy_report as policy_report,
    policy_start as policy_start,
    policy_step as policy_step,
)
from ._progress import progress_bar as progress_bar
from ._results import is_successful as is_successful, message as message, RESULTS as RESULTS, tally as tally
from ._robust_lu import DampedInverse as DampedInverse, RobustLU as RobustLU
from ._solution import Solution as Solution
from ._trajectory import Trajectory as Trajectory
from ._transforms import AbstractTransform as AbstractTransform, is_transform as is_transform, resolve as resolve
from ._trees import (
    as_arrays as as_arrays,
    as_floats as as_floats,
    batch_size as batch_size,
    ravel as ravel,
    slice_batch as slice_batch,
    stack as stack,
    stop_gradient as stop_gradient,
    tree_allfinite as tree_allfinite,
    tree_size as tree_size,
    tree_where as tree_where,
    where_needed as where_needed,
)
