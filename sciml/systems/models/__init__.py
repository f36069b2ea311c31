"""Models to be fitted: systems whose equations are learned, wholly or in part, and how their runs begin."""

from ._blocks import HammersteinWiener as HammersteinWiener, Residual as Residual
from ._grey_box import GreyBox as GreyBox
from ._koopman import Koopman as Koopman, koopman as koopman, Learned as Learned, Lifted as Lifted
from ._libraries import (
    AbstractLibrary as AbstractLibrary,
    Concatenated as Concatenated,
    Fourier as Fourier,
    Functions as Functions,
    Polynomial as Polynomial,
    Products as Products,
)
from ._mechanics import (
    CholeskyMatrix as CholeskyMatrix,
    Hamiltonian as Hamiltonian,
    Lagrangian as Lagrangian,
    PortHamiltonian as PortHamiltonian,
    Separable as Separable,
    separable as separable,
)
from ._network import edges_of as edges_of, Gates as Gates, NetworkODE as NetworkODE, prune as prune
from ._neural_ode import NeuralODE as NeuralODE
from ._recurrent import ElmanCell as ElmanCell, LiquidTimeConstant as LiquidTimeConstant, Recurrent as Recurrent
from ._scaled import (
    scaled as scaled,
    ScaledContinuous as ScaledContinuous,
    ScaledDiscrete as ScaledDiscrete,
    ScaledStart as ScaledStart,
)
from ._sindy import SINDy as SINDy
from ._starts import (
    AbstractStart as AbstractStart,
    Constant as Constant,
    Encoder as Encoder,
    Measured as Measured,
    Started as Started,
)
from ._state_space import StateSpace as StateSpace
