"""Data sets of person images, their transforms and samplers."""

from . import samplers, transforms
from .base import BaseReIDDataset, Counts, Draw, Record
from .drawing import SyntheticSpec
from .image_folder import ImageFolderReID
from .luperson import LUPerson
from .market1501 import Market1501
from .msmt17 import MSMT17
from .synthetic import SyntheticReID, make_synthetic

__all__ = [
    'MSMT17',
    'BaseReIDDataset',
    'Counts',
    'Draw',
    'ImageFolderReID',
    'LUPerson',
    'Market1501',
    'Record',
    'SyntheticReID',
    'SyntheticSpec',
    'make_synthetic',
    'samplers',
    'transforms',
]
