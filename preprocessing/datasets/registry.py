"""Which data set: the settings of all of them, and how each is opened."""

from __future__ import annotations

from typing import TypeAlias

from diffpose.preprocessing.datasets.human36m import Human36m, Human36mSource
from diffpose.preprocessing.datasets.human36m_pickle import Human36mPickle
from diffpose.preprocessing.datasets.interface import DataSet
from diffpose.preprocessing.datasets.mpi_inf_3dhp import MpiInf3dhp, MpiInf3dhpSource

DatasetSource: TypeAlias = Human36mSource | MpiInf3dhpSource


def data_set(source: DatasetSource) -> DataSet:
    """Return the data set of a source; files are read when they are first asked for."""
    if isinstance(source, MpiInf3dhpSource):
        return MpiInf3dhp(source)
    return Human36mPickle(source) if source.uri.endswith(".pkl") else Human36m(source)
