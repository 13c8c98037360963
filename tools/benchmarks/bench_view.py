"""What labeler and corrector share through one FeatureView: searches, normalizations, camera centerings and time.

    python tools/benchmarks/bench_view.py --images 12936

MultiScaleConsensus labels made-up features with cameras, and GLC corrects the labels: first by two calls on arrays,
then by two calls on one view. Each way runs once, after a run on few images that loads libraries and compiled kernels.
The training of GLC shares nothing, so it is cut down to ``--subgraphs`` sub-graphs, and its search among the labeled
images does not count as a full one. The labels must not depend on the way.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock, patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import shift_by_camera, synthetic_identities

if TYPE_CHECKING:
    from glc.core.correctors import BaseCorrector
    from glc.core.labelers import BaseLabeler

WARM_UP = 500

COUNTED = {
    'full searches': ('glc.core.neighbors', 'unit_knn_graph'),
    'normalizations': ('glc.core', 'as_unit_features'),
    'camera centerings': ('glc.core', 'center_cameras'),
}
"""Package and name of the functions whose calls are counted."""


def on_arrays(
    labeler: BaseLabeler, corrector: BaseCorrector, features: np.ndarray, cam_ids: np.ndarray
) -> np.ndarray:
    """Label and correct with separate calls."""
    return corrector(features, labeler(features, cam_ids), cam_ids)


def on_one_view(
    labeler: BaseLabeler, corrector: BaseCorrector, features: np.ndarray, cam_ids: np.ndarray
) -> np.ndarray:
    """Label and correct as a training does."""
    from glc.core.neighbors import FeatureView

    expected_k = max(labeler.expected_k, corrector.expected_k)
    view = FeatureView(features, cam_ids, expected_k=expected_k)
    return corrector(view, labeler(view))


def watch(stack: ExitStack, package: str, name: str) -> list[Mock]:
    """Wrap a function wherever the loaded modules of a package know it, for as long as the stack is open."""
    modules = [
        module for path, module in sys.modules.items() if path.startswith(package) and name in vars(module)
    ]
    return [
        stack.enter_context(patch.object(module, name, wraps=getattr(module, name))) for module in modules
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=3000)
    parser.add_argument('--dim', type=int, default=384)
    parser.add_argument('--cameras', type=int, default=6)
    parser.add_argument('--subgraphs', type=int, default=1, help='sub-graphs that GLC is trained on')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    # After --help: these take seconds.
    import torch

    from glc.core.correctors import GLC
    from glc.core.labelers import MultiScaleConsensus

    parts = MultiScaleConsensus(use_cameras=True), GLC(epochs=1, subgraphs_per_epoch=args.subgraphs)
    plain, _ = synthetic_identities(args.images, args.dim, args.seed)
    features, cam_ids = shift_by_camera(plain, args.cameras, 0.05, args.seed)
    print(
        f'{args.images} images, {args.dim} channels, {args.cameras} cameras, {torch.get_num_threads()} threads'
    )
    print(f'| calls | {" | ".join(COUNTED)} | s | CPU s | times faster |')
    print('|---' * (len(COUNTED) + 4) + '|')
    seconds = []
    found = []
    for name, method in (('on arrays', on_arrays), ('on one view', on_one_view)):
        method(*parts, features[:WARM_UP], cam_ids[:WARM_UP])
        with ExitStack() as stack:
            watched = [watch(stack, *place) for place in COUNTED.values()]
            start, cpu_start = time.perf_counter(), time.process_time()
            found.append(method(*parts, features, cam_ids))
            seconds.append(time.perf_counter() - start)
            cpu_seconds = time.process_time() - cpu_start
            calls = [sum(mock.call_count for mock in mocks) for mocks in watched]
        spent = [
            *map(str, calls),
            f'{seconds[-1]:.1f}',
            f'{cpu_seconds:.1f}',
            f'{seconds[0] / seconds[-1]:.2f}',
        ]
        print(f'| {name} | {" | ".join(spent)} |', flush=True)
    print(f'same labels: {"yes" if np.array_equal(*found) else "NO"}')


if __name__ == '__main__':
    main()
