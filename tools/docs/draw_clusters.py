"""Draw what glc-cluster writes, docs/clusters.jpg.

    python tools/docs/draw_clusters.py

The people are drawn by the synthetic data set. Their features are histograms of colors, so nothing has to be trained or
downloaded. Clusters and their correction are those of ``glc-cluster``; the picture has the contact sheets of
some clusters, from the largest to the smallest.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from PIL import Image

from glc.apis import ReIDFeatures
from glc.cli.cluster import main as cluster
from glc.datasets import SyntheticReID, SyntheticSpec, make_synthetic
from glc.utils.files import atomic_file
from glc.visualization.contact_sheet import spread

SPEC = SyntheticSpec(
    train_ids=14,
    train_images=10,
    test_ids=1,
    test_images=4,
    distractors=0,
    junk=0,
    cameras=3,
    spread=30,
    haze=100,
)
STRIPES = (0.0, 0.2, 0.5, 0.75, 1.0)  # head, upper body, thighs, feet


def color_features(paths: Sequence[Path]) -> np.ndarray:
    """Compute features (N, 1024) of images: how often the middle of each stripe has a color, less the mean image."""
    features = []
    for path in paths:
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        middle = cv2.cvtColor(image[:, width // 4 : 3 * width // 4], cv2.COLOR_BGR2LAB)
        parts = np.split(middle, [int(share * height) for share in STRIPES[1:-1]])
        counts = [
            cv2.calcHist([part], [0, 1, 2], None, [4, 8, 8], [0, 256, 64, 192, 64, 192]) for part in parts
        ]
        features.append(np.sqrt([count.ravel() / count.sum() for count in counts]).ravel())
    return np.array(features) - np.mean(features, axis=0)


def main() -> None:
    """Draw people, cluster them, put contact sheets together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parents[2] / 'docs/clusters.jpg'
    parser.add_argument(
        '--out', type=Path, default=default, metavar='FILE', help='default: docs/clusters.jpg'
    )
    parser.add_argument('--sheets', type=int, default=4, metavar='N', help='default: %(default)s')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder, 'images'), Path(folder, 'clusters')
        make_synthetic(images, SPEC, workers=1)
        crops = SyntheticReID(str(images))
        paths = [images / name for name in crops.paths]
        features = ReIDFeatures(color_features(paths), list(map(str, paths)), crops.pids, crops.cam_ids)
        features.save(Path(folder, 'features.npz'))
        cluster(['--features', f'{folder}/features.npz', str(out)])
        files = sorted((out / 'sheets').glob('0*.jpg'))
        sheets = [Image.open(files[number]) for number in spread(len(files), args.sheets)]
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    picture = Image.new('RGB', size, 'white')
    top = 0
    for sheet in sheets:
        picture.paste(sheet, (0, top))
        top += sheet.height
    with atomic_file(args.out) as path:
        picture.save(path, quality=80)
    print(args.out)


if __name__ == '__main__':
    main()
