"""Reference plants by family, with equations, units and source; `plants()` lists them with the data of experiments."""

from ._buildings import (
    single_zone as single_zone,
    single_zone_record as single_zone_record,
    single_zone_weather as single_zone_weather,
)
from ._cascaded_tanks import CascadedTanks as CascadedTanks, TankLevels as TankLevels
from ._chaotic import (
    Chua as Chua,
    Lorenz as Lorenz,
    LorenzControl as LorenzControl,
    Rossler as Rossler,
    Thomas as Thomas,
    ThomasControl as ThomasControl,
)
from ._chemistry_biology import (
    Autoignition as Autoignition,
    Brusselator as Brusselator,
    HindmarshRose as HindmarshRose,
    LotkaVolterra as LotkaVolterra,
    SEIR as SEIR,
)
from ._control import (
    CartPole as CartPole,
    ChainOfMasses as ChainOfMasses,
    PlanarQuadrotor as PlanarQuadrotor,
    Quadrotor as Quadrotor,
)
from ._double_integrator import double_integrator as double_integrator
from ._networks import (
    Boids as Boids,
    five_rooms as five_rooms,
    four_bodies as four_bodies,
    Gravitation as Gravitation,
    RCNetwork as RCNetwork,
)
from ._oscillators import (
    DoublePendulum as DoublePendulum,
    Duffing as Duffing,
    DuffingControl as DuffingControl,
    InvertedPendulum as InvertedPendulum,
    Pendulum as Pendulum,
    UniversalOscillator as UniversalOscillator,
)
from ._plant import Plant as Plant
from ._plants import plants as plants
from ._process import CSTR as CSTR, Tank as Tank
from ._two_tank import TwoTank as TwoTank
from ._van_der_pol import VanDerPol as VanDerPol, VanDerPolLienard as VanDerPolLienard
from ._vehicles_power import (
    Actuator as Actuator,
    SwingEquation as SwingEquation,
    UnderwaterVehicle as UnderwaterVehicle,
)
