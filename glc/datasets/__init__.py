"""Data sets of person images, their transforms and samplers."""

from . import samplers, transforms
from .base import BaseReIDDataset, Counts, Draw, Record
from .concat import ConcatDataset, pipeline_of
from .cuhk03 import CUHK03
from .drawing import SyntheticSpec
from .dukemtmc import DukeMTMCreID, OccludedDuke
from .image_folder import ImageFolderReID
from .luperson import LUPerson
from .market1501 import Market1501
from .market_layout import MarketLayout, NameScheme
from .msmt17 import MSMT17
from .personx import PersonX
from .synthetic import SyntheticReID, make_synthetic
from .veri776 import VeRi776

__all__ = [
    'CUHK03',
    'MSMT17',
    'BaseReIDDataset',
    'ConcatDataset',
    'Counts',
    'Draw',
    'DukeMTMCreID',
    'ImageFolderReID',
    'LUPerson',
    'Market1501',
    'MarketLayout',
    'NameScheme',
    'OccludedDuke',
    'PersonX',
    'Record',
    'SyntheticReID',
    'SyntheticSpec',
    'VeRi776',
    'make_synthetic',
    'pipeline_of',
    'samplers',
    'transforms',
]
