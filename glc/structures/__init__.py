"""Data structures that travel between data sets, models and metrics."""

from .reid_data_sample import ReIDDataSample

__all__ = ['ReIDDataSample']
