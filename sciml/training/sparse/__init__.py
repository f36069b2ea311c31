"""Sparse identification of dynamics: equations of few terms from records, by several methods of one verb."""

from ._errors_in_variables import ErrorsInVariables as ErrorsInVariables
from ._rows import AbstractEquations as AbstractEquations, Derivatives as Derivatives, WeakForm as WeakForm
from ._sindy import sindy as sindy
from ._slopes import slopes as slopes
from ._stlsq import AbstractSparse as AbstractSparse, Bagging as Bagging, SparseStats as SparseStats, STLSQ as STLSQ
