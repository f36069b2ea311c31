"""Saving and loading of pytrees, one per file; an interrupted write leaves the old file intact."""

from ._format import read_header as read_header
from ._tree import load as load, save as save
from ._write import output_folder as output_folder, write_atomic as write_atomic
