"""`ErrorsInVariables()` as it is: no threshold, no noise level, the same call for every record."""

import time

import numpy as np

from sciml.sources import record
from sciml.systems.models import Fourier, Polynomial
from sciml.training.sparse import ErrorsInVariables, sindy


def prepare(case, data):
    """One call per record; the first compiles."""
    library = Polynomial(2) if int(data["degree"]) == 2 else Fourier([1.0]) + Polynomial(1)
    one = lambda y: np.asarray(sindy(library, record(y, t=data["t"]), ErrorsInVariables()).value.coefficients)

    def act():
        return {"coefficients": np.array([one(y) for y in data["y"]])}

    start = time.process_time()
    one(data["y"][0])
    first = time.process_time() - start
    start = time.process_time()
    one(data["y"][0])
    return {"identify": act}, {"identify": first - (time.process_time() - start)}
