"""DukeMTMC-reID (Zheng et al., ICCV 2017) and Occluded-Duke (Miao et al., ICCV 2019)."""

from collections.abc import Mapping
from typing import ClassVar

from glc.registry import DATASETS

from .base import Counts
from .market_layout import MARKET_FOLDERS, MarketLayout, NameScheme


@DATASETS.register_module()
class DukeMTMCreID(MarketLayout):
    """DukeMTMC-reID: 8 cameras, 702 training and 702 test identities, and 408 more in the gallery.

    File names are ``PPPP_cC_fFFFFFFF.jpg`` (identity, camera, frame). Takes the arguments of
    :class:`BaseReIDDataset`.

    The authors of DukeMTMC have withdrawn it (2019), since people had been recorded without their consent; its license
    is for academic research only. Description: github.com/sxzrt/DukeMTMC-reID_evaluation.

    Raises:
        ValueError: If a file name does not follow the scheme.

    Example:
        >>> from glc.datasets import DukeMTMCreID
        >>> DukeMTMCreID.parse('0005_c2_f0046985.jpg')
        (5, 1)
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'DukeMTMC-reID'}
    names = NameScheme('DukeMTMC-reID', 'PPPP_cC_fFFFFFFF.jpg', r'(?P<pid>\d{4})_c(?P<cam>\d+)_f\d+')
    layout = names.layout(MARKET_FOLDERS)
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=16522, ids=702, cams=8),
        'query': Counts(images=2228, ids=702, cams=8),
        'gallery': Counts(images=17661, ids=1110, cams=8),
    }


@DATASETS.register_module()
class OccludedDuke(DukeMTMCreID):
    """Occluded-Duke: DukeMTMC-reID split anew, so that something hides a part of the person in every query image.

    702 training identities, 519 in the queries, 1,110 in the gallery. Layout, file names and license are those of
    :class:`DukeMTMCreID`. The split is made from the archive of DukeMTMC-reID by the script of
    github.com/lightas/Occluded-DukeMTMC-Dataset. Takes the arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If a file name does not follow the scheme.

    Example:
        >>> from glc.datasets import OccludedDuke
        >>> OccludedDuke.published_counts['train'].images
        15618
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'Occluded-Duke'}
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=15618, ids=702, cams=8),
        'query': Counts(images=2210, ids=519, cams=8),
        'gallery': Counts(images=17661, ids=1110, cams=8),
    }
