"""Old import paths: they work until the next release, and warn.

To move a module, add a row to :data:`MOVED`. Delete the rows, or this file, with the next release.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, str | dict[str, str]] = {
    'glc.core.graph': {
        '*': 'glc.core.neighbors.knn',
        'normalized_adjacency': 'glc.core.correctors.link_network',
        'neighbour_matrix': 'glc.core.neighbors.knn:neighbor_matrix',
    },
    'glc.core.approximate': {
        '*': 'glc.core.neighbors.approximate',
        'likely_neighbours': 'glc.core.neighbors.approximate:likely_neighbors',
    },
    'glc.core.similarity': 'glc.core.neighbors.similarity',
    'glc.core.cameras': 'glc.core.neighbors.cameras',
    'glc.core.jaccard': 'glc.core.neighbors.jaccard',
    'glc.core.kernels': {
        '*': 'glc.core.neighbors.jaccard_numba',
        'mutual_neighbours': 'glc.core.neighbors.jaccard_numba:mutual_neighbors',
    },
    'glc.core.torch_jaccard': 'glc.core.neighbors.jaccard_torch',
    'glc.core.communities': {
        '*': 'glc.core.clusterers.communities',
        'follow_labels': 'glc.core.correctors.base',
        'part_labels': 'glc.core.correctors.base:penalize_different_labels',
    },
    'glc.core.clustering': {
        '*': 'glc.core.labelers',
        'knee_distance': 'glc.core.clusterers',
        'KNEE_RANGE': 'glc.core.clusterers.dbscan',
    },
    'glc.core.alternatives': {
        **dict.fromkeys(
            ('KMeansLabeler', 'JaccardHDBSCAN', 'JaccardAgglomerative', 'JaccardLeiden'), 'glc.core.labelers'
        ),
        **dict.fromkeys(('NoCorrection', 'LabelPropagation'), 'glc.core.correctors'),
        'NeighbourVoting': 'glc.core.correctors:NeighborVoting',
    },
    'glc.core.reliability': 'glc.core.labelers.reliability',
    'glc.core.correction': {
        '*': 'glc.core.correctors',
        'draw_subgraph': 'glc.core.correctors.link_training',
        'shuffled_batches': 'glc.core.correctors.link_training',
    },
    'glc.core.gcn': 'glc.core.correctors.link_network',
    'glc.core.metric': 'glc.core.correctors.metric_consensus',
    'glc.core.memory': {
        '*': 'glc.core.memories',
        'gather_rows': 'glc.core.memories.base:gather_batch',
        'replace_rows': 'glc.core.memories.base',
    },
    'glc.core.camera_memory': 'glc.core.memories.camera',
    'glc.core.hybrid_memory': 'glc.core.memories.hybrid',
    'glc.core.triplet': 'glc.core.losses.triplet',
    'glc.core.distillation': 'glc.core.losses.distillation',
    'glc.core.quality': 'glc.core.evaluation.label_quality',
    'glc.core.ranking': 'glc.core.evaluation.ranking',
    'glc.core.reranking': 'glc.core.evaluation.reranking',
    'glc.utils': dict.fromkeys(
        (
            'LoadReport',
            'load_backbone_checkpoint',
            'load_checkpoint_file',
            'load_link_predictor',
            'load_model_checkpoint',
        ),
        'glc.checkpoints',
    ),
    'glc.utils.checkpoint': 'glc.checkpoints',
    'glc.utils.layouts': {
        '*': 'glc.checkpoints.layouts',
        'recognise_layout': 'glc.checkpoints.layouts:recognize_layout',
    },
    'glc.utils.memory': 'glc.utils.malloc',
    'glc.datasets.figures': 'glc.datasets.drawing.figures',
    'glc.datasets.scenes': 'glc.datasets.drawing.scenes',
}
"""Where the names of an old module are now.

A row is the new module of all names, or it gives each name the new module, or ``'module:new_name'``. The name ``'*'``
stands for all other names.
"""


def forward(old: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that lost its names.

    Args:
        old: Name of the module, a key of :data:`MOVED`.

    Returns:
        A function that finds a public name in its new module, and warns at the line that asks for it.
    """
    row = MOVED[old]
    places: Mapping[str, str] = {'*': row} if isinstance(row, str) else row

    def __getattr__(name: str) -> Any:
        place = '' if name.startswith('_') else places.get(name, places.get('*', ''))
        module, _, new_name = place.partition(':')
        new_name = new_name or name
        if not module or not hasattr(import_module(module), new_name):
            raise AttributeError(f'module {old!r} has no attribute {name!r}')
        warnings.warn(
            f'{old}.{name} has moved to {module}.{new_name}; the old path goes with the next release',
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(module), new_name)

    return __getattr__


class _MovedModules(MetaPathFinder, Loader):
    """Makes the old modules of :data:`MOVED` when they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = 'Moved, see glc._moved.'
        module.__getattr__ = forward(module.__name__)  # type: ignore[method-assign]


def install() -> None:
    """Let the old modules be imported; a module that exists comes first."""
    sys.meta_path.append(_MovedModules())
