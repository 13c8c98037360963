"""Tiny data sets in the layouts of the real ones."""

from pathlib import Path

import cv2
import numpy as np

MARKET = {
    'bounding_box_train': ['0002_c1s1_000451_03.jpg', '0002_c2s1_000301_01.jpg', '0007_c3s3_077419_03.jpg'],
    'query': ['0001_c1s1_001051_00.jpg', '0003_c4s6_015641_00.jpg'],
    'bounding_box_test': [
        '-1_c1s1_024551_06.jpg',
        '0000_c6s4_000001_00.jpg',
        '0001_c2s1_000301_00.jpg',
        '0003_c5s1_000301_02.jpg',
    ],
}
MSMT_LISTS = {
    'list_train.txt': [
        '0001/0001_000_15_0303morning_0008_0.jpg 1',
        '0000/0000_000_01_0303morning_0008_0.jpg 0',
    ],
    'list_val.txt': ['0000/0000_001_03_0303noon_0028_1.jpg 0'],
    'list_query.txt': ['0000/0000_000_05_0303morning_0008_0.jpg 0'],
    'list_gallery.txt': [
        '0000/0000_001_14_0303morning_0008_0.jpg 0',
        '0001/0001_000_02_0303morning_0008_0.jpg 1',
    ],
}


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


def write_market(root: Path) -> Path:
    for number, (folder, names) in enumerate(MARKET.items()):
        for name in names:
            write_image(root / folder / name, seed=number)
    (root / 'bounding_box_test' / 'Thumbs.db').touch()
    return root


def write_msmt(root: Path, train: str = 'train', test: str = 'test') -> Path:
    for name, lines in MSMT_LISTS.items():
        folder = train if name in ('list_train.txt', 'list_val.txt') else test
        for line in lines:
            write_image(root / folder / line.split()[0])
        (root / name).write_text('\n'.join(lines) + '\n')
    return root
