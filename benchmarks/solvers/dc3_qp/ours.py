"""This library: matrices that instances share are arrays of the program, the others functions of the instance."""

import ours_batch
import problem


def prepare(data):
    """Forward, backward, and both."""
    return ours_batch.actions(data, problem.tolerance(data))
