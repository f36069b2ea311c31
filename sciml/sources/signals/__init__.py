"""Input signals for experiments: periodic, binary, in a frequency band, random; inside bounds by construction.

Every function returns an array of `time` samples for each input. `low` and `high` are numbers or one number for each
input, and no sample leaves them. Random signals take a key first: `jax.vmap` over keys gives many experiments.
"""

from ._arma import arma as arma
from ._beta import beta as beta, beta_autoregression as beta_autoregression, beta_walk as beta_walk
from ._binary import prbs as prbs, random_binary as random_binary
from ._multisine import multisine as multisine, schroeder as schroeder
from ._periodic import chirp as chirp, sawtooth as sawtooth, sine as sine, square as square
from ._random import random_walk as random_walk, spline as spline, steps as steps, white_noise as white_noise
