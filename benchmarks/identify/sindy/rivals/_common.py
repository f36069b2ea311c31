"""pysindy with a threshold of half the smallest true coefficient: knowledge that our method is not given."""

import numpy as np
import pysindy as ps

THRESHOLD = {2: 0.5, 1: 0.1}


def actions(data, make):
    """One fit per record."""
    degree, t = int(data["degree"]), data["t"]
    library = ps.PolynomialLibrary(degree=degree)
    if degree == 1:
        library = ps.ConcatLibrary([ps.FourierLibrary(n_frequencies=1), library])

    def one(k, y):
        np.random.seed(k)  # domains of the weak form, members of ensembles
        model = make(library, ps.STLSQ(threshold=THRESHOLD[degree]), t)
        model.fit(y, t=t)
        coefficients = np.asarray(model.coefficients()).T
        # sin x, cos x, sin y, ... in pysindy; ours are all sines, then all cosines.
        return coefficients[[0, 2, 4, 1, 3, 5, 6, 7, 8, 9]] if degree == 1 else coefficients

    return {"identify": lambda: {"coefficients": np.array([one(k, y) for k, y in enumerate(data["y"])])}}, {}
