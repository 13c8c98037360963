"""Tiny data sets in the layouts of the real ones."""

from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

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
MARKET_LIKE = {
    'DukeMTMCreID': {
        'bounding_box_train': ['0005_c2_f0046985.jpg', '0001_c8_f0044158.jpg'],
        'query': ['0002_c1_f0044158.jpg'],
        'bounding_box_test': ['0002_c2_f0046985.jpg', '7141_c6_f0170274.jpg'],
    },
    'OccludedDuke': {
        'bounding_box_train': ['0005_c2_f0046985.jpg', '0001_c8_f0044158.jpg'],
        'query': ['0002_c1_f0044158.jpg'],
        'bounding_box_test': ['0002_c2_f0046985.jpg', '7141_c6_f0170274.jpg'],
    },
    'VeRi776': {
        'image_train': ['0005_c002_00016450_0.jpg', '0001_c008_00030600_1.jpg'],
        'image_query': ['0002_c001_00030600_0.jpg'],
        'image_test': ['0002_c002_00030600_0.jpg', '0776_c020_00084385_0.jpg'],
    },
    'PersonX': {
        'bounding_box_train': ['0005_c3s1_000030_01.jpg', '0001_c12s2_000030_01.jpg'],
        'query': ['0002_c4s1_000040_01.jpg'],
        'bounding_box_test': ['0002_c8s1_000030_01.jpg', '0856_c11s1_000350_01.jpg'],
    },
    'MSMT17': {
        'bounding_box_train': ['0000_c1_0000.jpg', '0001_c15_0007.jpg'],
        'query': ['0003_c2_0001.jpg'],
        'bounding_box_test': ['0003_c14_0002.jpg', '0004_c1_0000.jpg'],
    },
}
CUHK03_FILES = [  # name, identity, camera and part as in the file of the protocol
    ('1_002_1_01.png', 2, 1, 'train'),
    ('1_001_2_06.png', 1, 2, 'train'),
    ('2_001_1_01.png', 3, 1, 'query'),
    ('2_001_2_07.png', 3, 2, 'gallery'),
    ('2_003_1_02.png', 5, 1, 'gallery'),
]
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


def write_market_like(root: Path, name: str) -> Path:
    for folder, files in MARKET_LIKE[name].items():
        for file in files:
            write_image(root / folder / file)
    return root


def write_cuhk03(root: Path, boxes: str = 'detected') -> Path:
    """CUHK03 with the file of the new protocol, whose numbers are columns and whose names are cells."""
    parts = [part for *_, part in CUHK03_FILES]
    content = {
        f'{part}_idx': np.array([[1 + place] for place, own in enumerate(parts) if own == part])
        for part in ('train', 'query', 'gallery')
    }
    content['filelist'] = np.array([[name] for name, *_ in CUHK03_FILES], dtype=object)
    content['labels'] = np.array([[pid] for _, pid, *_ in CUHK03_FILES], dtype=np.uint16)
    content['camId'] = np.array([[cam] for _, _, cam, _ in CUHK03_FILES], dtype=np.uint8)
    for name, *_ in CUHK03_FILES:
        write_image(root / f'images_{boxes}' / name)
    savemat(root / f'cuhk03_new_protocol_config_{boxes}.mat', content)
    return root


def write_cuhk03_np(root: Path, boxes: str = 'detected') -> Path:
    """CUHK03-NP: the same protocol as folders."""
    folders = {'train': 'bounding_box_train', 'query': 'query', 'gallery': 'bounding_box_test'}
    for number, (_, pid, cam, part) in enumerate(CUHK03_FILES):
        write_image(root / boxes / folders[part] / f'{pid:04d}_c{cam}_{number + 1}.png')
    return root
