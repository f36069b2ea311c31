"""Sources of training data: samples, minibatches, windows, splits, measured records, files, and input signals."""

from . import signals as signals
from ._csv import read_csv as read_csv, sampling_time as sampling_time
from ._fixed import Fixed as Fixed
from ._minibatches import Minibatches as Minibatches
from ._record import (
    cut as cut,
    Record as Record,
    record as record,
    recorded as recorded,
    split_time as split_time,
    stack as stack,
    unstack as unstack,
)
from ._resample import resample as resample
from ._sampled import Sampled as Sampled
from ._scaling import scale_records as scale_records, Scaling as Scaling
from ._source import AbstractSource as AbstractSource, Batch as Batch
from ._split import split as split
from ._standardise import standardise as standardise, Standardiser as Standardiser
from ._uniform import Uniform as Uniform
from ._windows import Windows as Windows
