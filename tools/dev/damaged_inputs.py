"""Push damaged inputs through the public doors of the package, and say what becomes of each.

    python tools/dev/damaged_inputs.py                       # 1,000 inputs
    python tools/dev/damaged_inputs.py --number 100 --seed 1 --kinds images lists

The inputs are made here, and follow from the seed: images, file names, lists, archives, configs and options,
checkpoints, arrays. Each is what happens to files: cut off, bits changed, emptied, swapped for something else, with
wrong names, numbers or shapes, or made to run code. It goes through a door (a data set, a reader, a config, a labeler)
in this process, and ends in one of these ways:

    error    an error that names the file, the key or the argument
    skipped  left out, and counted
    read     read, where the damage cannot be seen, or does no harm
    BAD      an error that names nothing, another kind of exception, a silent wrong result, or no end in a minute

The exit status is 1 where one is BAD.
"""

import argparse
import faulthandler
import io
import json
import logging
import os
import pickle
import signal
import struct
import sys
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

from glc import GLC, AdaptiveConsensus, JaccardDBSCAN
from glc.apis import Gallery, ReIDFeatures, list_images, load_config, prepare_config, video_crops
from glc.apis.images import ListedImages
from glc.apis.options import parse_value
from glc.apis.run_folder import read_arrays
from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.core.evaluation import evaluate_ranking
from glc.datasets import ImageFolderReID
from glc.datasets.inspection import inspect_images
from glc.datasets.luperson import read_names
from glc.datasets.own_images import read_named_images
from glc.datasets.transforms import LoadReIDImage
from glc.engine.clusters import read_clusters
from glc.engine.work_dir import newest_checkpoint
from glc.registry import DATASETS, MODELS
from glc.utils.images import as_rgb

SECONDS = 60
ENDS = ('error', 'skipped', 'read', 'BAD')
CLEAR = (ImportError, OSError, RuntimeError, TypeError, ValueError)
Random = np.random.Generator


class Input(NamedTuple):
    """A damaged input.

    Attributes:
        about: What it is, and what is wrong with it.
        door: Reads it; returns how many inputs were left out and counted.
        names: An error has one of these texts.
        wrong: Whether reading it without a word is wrong.
    """

    about: str
    door: Callable[[], int | None]
    names: tuple[str, ...]
    wrong: bool = True


class HangError(BaseException):
    """An input that takes too long; no handler of errors in the package catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise HangError after SECONDS; where no Python code runs, end the process with its traceback, later."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def outcome(item: Input) -> tuple[str, str]:
    """Push an input through its door; return how it ended, and what was said."""
    try:
        with time_limit():
            left_out = item.door()
    except HangError:
        return 'BAD', f'no end in {SECONDS} s'
    except CLEAR as error:
        if any(name in str(error) for name in item.names):
            return 'error', str(error)
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            'BAD',
            f'{type(error).__name__} names none of {item.names}: {error} ({where.filename}:{where.lineno})',
        )
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return 'BAD', f'{type(error).__name__}: {error} ({where.filename}:{where.lineno})'
    if left_out:
        return 'skipped', ''
    return ('BAD', 'read without a word') if item.wrong else ('read', '')


# ---------------------------------------------------------------- what happens to files


def cut(random: Random, content: bytes) -> bytes:
    """Keep the beginning."""
    return content[: int(random.integers(1, max(len(content), 2)))]


def flipped(random: Random, content: bytes) -> bytes:
    """Change a few bits."""
    changed = bytearray(content)
    for place in random.integers(0, len(changed), int(random.integers(1, 9))):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def blanked(random: Random, content: bytes) -> bytes:
    """Put zeros where a block of a disk was lost."""
    start = int(random.integers(len(content)))
    size = int(random.integers(1, 4096))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def doubled(random: Random, content: bytes) -> bytes:
    """Write a part twice."""
    start, stop = sorted(random.integers(0, len(content) + 1, 2).tolist())
    return content[:stop] + content[start:]


def noise(random: Random, content: bytes) -> bytes:
    """Write random bytes."""
    return random.bytes(max(len(content), 1))


def empty(random: Random, content: bytes) -> bytes:
    """Write nothing."""
    return b''


def page(random: Random, content: bytes) -> bytes:
    """Write what a server sends instead of a file."""
    return b'<!DOCTYPE html><html><body>404 Not Found</body></html>'


DAMAGES = (cut, cut, flipped, flipped, blanked, doubled, noise, empty, page)


def damage(random: Random, content: bytes) -> tuple[str, bytes]:
    """Damage a content in a random way; return the way, and what is left."""
    way = DAMAGES[random.integers(len(DAMAGES))]
    return way.__name__, way(random, content)


# ---------------------------------------------------------------- images


def drawn(random: Random, size: tuple[int, int] = (32, 64)) -> Image.Image:
    """Draw an image that compresses as photos do."""
    coarse = random.integers(0, 256, (8, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


FORMATS: Mapping[str, Callable[[Image.Image], tuple[Image.Image, dict]]] = {
    'jpg': lambda image: (image, {'format': 'JPEG'}),
    'progressive.jpg': lambda image: (image, {'format': 'JPEG', 'progressive': True}),
    'cmyk.jpg': lambda image: (image.convert('CMYK'), {'format': 'JPEG'}),
    'gray.jpeg': lambda image: (image.convert('L'), {'format': 'JPEG'}),
    'png': lambda image: (image, {'format': 'PNG'}),
    'alpha.png': lambda image: (image.convert('RGBA'), {'format': 'PNG'}),
    'palette.png': lambda image: (image.convert('P'), {'format': 'PNG'}),
    'deep.png': lambda image: (
        Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257),
        {'format': 'PNG'},
    ),
    'bmp': lambda image: (image, {'format': 'BMP'}),
    'gif': lambda image: (image, {'format': 'GIF', 'save_all': True, 'append_images': [image.rotate(180)]}),
    'tif': lambda image: (image, {'format': 'TIFF'}),
    'packed.tiff': lambda image: (image, {'format': 'TIFF', 'compression': 'tiff_deflate'}),
    'webp': lambda image: (image, {'format': 'WEBP'}),
    'ppm': lambda image: (image, {'format': 'PPM'}),
}


def encoded(image: Image.Image, kind: str) -> bytes:
    """Encode an image."""
    buffer = io.BytesIO()
    image, options = FORMATS[kind](image)
    image.save(buffer, **options)
    return buffer.getvalue()


def huge_png() -> bytes:
    """Encode a PNG that says it has 10 billion pixels, and holds none of them."""
    parts = [
        (b'IHDR', struct.pack('>IIBBBBB', 100_000, 100_000, 8, 2, 0, 0, 0)),
        (b'IDAT', zlib.compress(b'')),
    ]
    chunks = (
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def strictly_decoded(content: bytes) -> np.ndarray | None:
    """Decode with all checks of PIL; None where it finds damage."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(io.BytesIO(content)) as image:
            image.verify()  # the checksums of PNG
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(as_rgb(image))
    return None


def of_data_set(folder: Path, unreadable: str) -> int:
    """Read the images of a folder as a training does; return how many are left out."""
    dataset = ImageFolderReID(
        str(folder), unreadable=unreadable, pipeline=[LoadReIDImage()], serialize_data=False
    )
    for index in range(len(dataset)):
        dataset[index]
    return len(list(folder.iterdir())) - len(dataset)


def of_list(path: Path, unreadable: str) -> int:
    """Read an image as an inferencer does."""
    dataset = ListedImages(list(list_images(str(path))), [LoadReIDImage()], unreadable)
    for index in range(len(dataset)):
        dataset[index]
    return 1 - len(dataset)


def of_inspection(path: Path) -> int:
    """Read an image as tools/dataset_tools/check.py does."""
    return sum(problem.kind == 'corrupt' for problem in inspect_images([str(path)]))


def differs(content: bytes) -> bool:
    """Whether a content that PIL decodes has other pixels for us."""
    expected = strictly_decoded(content)
    if expected is None:
        return True
    image = LoadReIDImage()._decoded(content)[..., ::-1]
    return image.shape != expected.shape or bool(np.abs(image - expected.astype(float)).mean() > 4)


def images(random: Random, folder: Path) -> Iterator[Input]:
    """Image files, in data sets, lists and inspections."""
    for number in range(10**9):
        kind = str(random.choice(list(FORMATS)))
        way, content = damage(random, encoded(drawn(random), kind))
        special = number % 12
        if special == 0:
            way, content = 'of 10 billion pixels', huge_png()
        elif special == 1:
            way, content = 'of another format', encoded(drawn(random), str(random.choice(list(FORMATS))))
        elif special == 2:
            way, content = 'with more behind it', encoded(drawn(random), kind) + random.bytes(100)
        place = folder / str(number)
        place.mkdir()
        path = place / f'0001_c1s1_{number:06d}_00.{kind}'
        if special == 3:
            way = str(random.choice(['a folder', 'a pipe', 'a link to nothing']))
            {'a folder': path.mkdir, 'a pipe': partial(os.mkfifo, path)}.get(
                way, partial(path.symlink_to, 'nowhere')
            )()
        else:
            path.write_bytes(content)
        (place / 'whole.jpg').write_bytes(encoded(drawn(random), 'jpg'))
        doors: dict[str, Callable[[], int]] = {
            'data set': partial(of_data_set, place, 'error'),
            'data set, skip': partial(of_data_set, place, 'skip'),
        }
        if special != 3:  # those are no files for a list
            doors |= {
                'list': partial(of_list, path, 'error'),
                'list, skip': partial(of_list, path, 'skip'),
                'inspection': partial(of_inspection, path),
            }
        door = list(doors)[number // 12 % len(doors)]
        about = f'{door}: {kind} {way}'

        def read(
            door: Callable[[], int] = doors[door], content: bytes = content, special: int = special
        ) -> int:
            left_out = door()
            if not left_out and special != 3 and strictly_decoded(content) is not None and differs(content):
                raise AssertionError('other pixels than those of PIL')
            return left_out

        yield Input(about, read, (path.name,), special == 3 or strictly_decoded(content) is None)


# ---------------------------------------------------------------- file names


SETS = {
    'Market1501': ('bounding_box_train', '0002_c1s1_000451_03.jpg'),
    'DukeMTMCreID': ('bounding_box_train', '0001_c2_f0046302.jpg'),
    'MSMT17': ('bounding_box_train', '0000_c1_0002.jpg'),
    'CUHK03': ('detected/bounding_box_train', '0001_c1_1.png'),
    'PersonX': ('bounding_box_train', '0001_c1s1_000001_00.jpg'),
    'VeRi776': ('image_train', '0001_c001_00016450_0.jpg'),
    'ImageFolderReID': ('.', '0002_c1s1_000451_03.jpg'),
}
SIGNS = [
    '',
    '0',
    '9' * 30,
    '-',
    '_',
    ' ',
    '\n',
    'é',
    '٣',
    '²',
    '\udc80',
    '%s',
    '{}',
    'c',
    '.jpg',
    "'",
    '\x01',
    '‮',
]


def renamed(random: Random, name: str) -> str:
    """Change a name in one to three places."""
    for _ in range(int(random.integers(1, 4))):
        start, size = int(random.integers(len(name) + 1)), int(random.integers(0, 3))
        name = name[:start] + str(random.choice(SIGNS)) + name[start + size :]
    return name[:200].replace('/', '')


def of_names(kind: str, root: Path) -> int:
    """List the images of a folder, with identities and cameras."""
    options: dict[str, Any] = {'data_root': str(root), 'check': 'off', 'serialize_data': False}
    if kind == 'ImageFolderReID':
        options['pattern'] = r'(?P<pid>-?\d+)_c(?P<cam>\d+)'
    dataset = DATASETS.build({'type': kind, **options})
    if not (len(dataset.pids) == len(dataset.cam_ids) == len(dataset)):
        raise AssertionError('columns of another length')
    files = [name for _, _, names in os.walk(root) for name in names]
    return len(files) - len(dataset)


def names(random: Random, folder: Path) -> Iterator[Input]:
    """File names, in data sets."""
    for number in range(10**9):
        kind = list(SETS)[number % len(SETS)]
        part, whole = SETS[kind]
        place = folder / str(number) / part
        place.mkdir(parents=True)
        (place / whole).touch()
        name = renamed(random, whole)
        try:
            (place / name).touch()
        except (OSError, ValueError):  # no name of a file
            continue
        yield Input(
            f'{kind}: {name!r}',
            partial(of_names, kind, folder / str(number)),
            (name, repr(name)[1:-1]),
            False,
        )


# ---------------------------------------------------------------- lists


def of_msmt(root: Path) -> int:
    """Read the lists of MSMT17."""
    DATASETS.build({'type': 'MSMT17', 'data_root': str(root), 'check': 'off'}).full_init()
    return 0


def msmt_tree(root: Path) -> dict[str, bytes]:
    """Make the images of MSMT17; return the lists."""
    paths = [
        f'{pid:04d}/{pid:04d}_{shot:03d}_01_0303morning_0008_{shot}.jpg'
        for pid in range(3)
        for shot in range(3)
    ]
    for path in paths:
        (root / 'train' / path).parent.mkdir(parents=True, exist_ok=True)
        (root / 'train' / path).touch()
    return {
        'list_train.txt': ''.join(f'{path} {int(path[:4])}\n' for path in paths[:-3]).encode(),
        'list_val.txt': ''.join(f'{path} {int(path[:4])}\n' for path in paths[-3:]).encode(),
    }


CELLS = [
    '',
    '-1',
    'x',
    '1e400',
    'nan',
    '9' * 30,
    '-5',
    '"',
    '\x00',
    'é',
    ',',
    ' 7 ',
    '0x10',
    '1.5',
    'x' * 200_000,
]


def respelled(random: Random, text: str) -> bytes:
    """Damage a table: a cell, a line, its encoding, or bytes."""
    lines = text.splitlines()
    way = int(random.integers(7))
    row = int(random.integers(len(lines)))
    if way <= 2:
        cells = lines[row].replace(' ', ',').split(',')
        cells[int(random.integers(len(cells)))] = str(random.choice(CELLS))
        lines[row] = (',' if ',' in text else ' ').join(cells)
    elif way == 3:
        lines.insert(row, lines[int(random.integers(len(lines)))])
    elif way == 4:
        del lines[row]
    elif way == 5:
        return '\r\n'.join(lines).encode(str(random.choice(['utf-16', 'utf-8-sig', 'utf-8'])))
    else:
        return damage(random, text.encode())[1]
    return '\n'.join([*lines, '']).encode('utf-8', 'surrogateescape')


def lists(random: Random, folder: Path) -> Iterator[Input]:
    """Lists and tables: MSMT17, LUPerson, tables of names, boxes of a video, clusters."""
    for number in range(10**9):
        place = folder / str(number)
        place.mkdir()
        turn = number % 5
        if turn == 0:
            texts = msmt_tree(place)
            damaged = str(random.choice(list(texts)))
            for name, text in texts.items():
                content = respelled(random, text.decode()) if name == damaged else text
                (place / name).write_bytes(content)
            yield Input('MSMT17', partial(of_msmt, place), (damaged, str(place)), False)
            continue
        path = place / ('list.csv' if turn > 1 else 'chosen.txt')
        if turn == 1:
            (place / 'images').mkdir()
            files = [f'{name}.jpg' for name in 'abc']
            for name in files:
                (place / 'images' / name).touch()
            plain = random.integers(2)
            text = ''.join(f'{name}\n' for name in files)
            content = respelled(random, text) if plain else damage(random, pickle.dumps(files))[1]
            path.write_bytes(content)
            door: Callable[[], Any] = partial(of_chosen, place, path)
        elif turn == 2:
            (place / 'a.jpg').touch()
            (place / 'b.jpg').touch()
            path.write_bytes(respelled(random, 'path,pid,cam\na.jpg,1,1\nb.jpg,2,1\n'))
            door = partial(read_named_images, str(place), table=str(path))
        elif turn == 3:
            header = 'frame,id,left,top,width,height\n' * int(random.integers(2))
            path.write_bytes(respelled(random, header + '1,7,0,0,20,40\n2,7,5,5,20,40\n'))
            door = partial(of_boxes, path)
        else:
            path.write_bytes(respelled(random, 'file,cluster\na.jpg,0\nb.jpg,0\nc.jpg,-1\n'))
            door = partial(read_clusters, path)
        yield Input(('', 'LUPerson', 'names', 'boxes', 'clusters')[turn], quiet(door), (path.name,), False)


def of_chosen(root: Path, chosen: Path) -> None:
    """Read the names that a pre-training takes."""
    read_names(str(chosen))
    dataset = DATASETS.build(
        {'type': 'LUPerson', 'data_root': str(root), 'chosen': str(chosen), 'check': 'off'}
    )
    found = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    if not all(map(os.path.isfile, found)):
        raise AssertionError(f'{found} are no files')


def of_boxes(path: Path) -> None:
    """Cut boxes out of two frames."""
    for crop in video_crops([np.zeros((90, 60, 3), np.uint8)] * 2, path):
        if crop.image.shape[0] > 90 or crop.image.shape[1] > 60:
            raise AssertionError('a crop larger than its frame')


def quiet(door: Callable[[], Any]) -> Callable[[], None]:
    """Make a door of a function that returns something."""

    def call() -> None:
        door()

    return call


# ---------------------------------------------------------------- archives


def archives(random: Random, folder: Path) -> Iterator[Input]:
    """Archives of arrays: features, galleries, labels, protocols of MATLAB."""
    values = random.normal(size=(6, 8)).astype(np.float32)
    features = ReIDFeatures(values, [f'{name}.jpg' for name in 'abcdef'])
    for number in range(10**9):
        place = folder / str(number)
        place.mkdir()
        turn = number % 5
        path = place / ('features.npz', 'labels.npz', 'gallery.json', 'gallery.json', 'protocol.mat')[turn]
        named: tuple[str, ...] = (path.name,)
        door: Callable[[], Any] = partial(ReIDFeatures.load, path)
        if turn == 0:
            features.save(path)
        elif turn == 1:
            np.savez(path, labels=np.zeros(6, np.int64), certainty=np.ones(6))
            door = partial(read_arrays, path, 'labels', 'certainty')
        elif turn in (2, 3):
            Gallery.of(features).save(place)
            path = path if turn == 2 else next(place.glob('*.npy'))
            door, named = partial(of_gallery, place, values[:1]), (str(place),)
        else:
            path = place / 'cuhk03_new_protocol_config_detected.mat'
            (place / 'images_detected').mkdir()
            (place / 'images_detected/1_001_1_01.png').touch()
            listed = np.array(['1_001_1_01.png'], object)[:, None]
            numbers = {name: np.ones((1, 1)) for name in ('labels', 'camId', 'train_idx')}
            savemat(path, {'filelist': listed, **numbers})
            door, named = partial(of_cuhk, place), (path.name, str(place))
        whole = path.read_bytes()
        way, content = damage(random, whole)
        if path.suffix == '.npz' and random.integers(4) == 0:
            way, content = 'with objects', of_objects(random)
        path.write_bytes(content)
        damaged = way in ('cut', 'noise', 'empty', 'page', 'with objects') or (
            path.suffix == '.npz' and not is_intact(content)
        )
        yield Input(f'{path.name} {way}', quiet(door), named, damaged and content != whole)


def of_objects(random: Random) -> bytes:
    """Make an archive whose arrays run code when they are unpickled."""
    buffer = io.BytesIO()
    np.savez(
        buffer, **{name: np.array([Call()], object) for name in ('features', 'path', 'labels', 'certainty')}
    )
    return buffer.getvalue()


class Call:
    """What runs a function when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os._exit, (99,)


def is_intact(content: bytes) -> bool:
    """Whether all checksums of an archive are right."""
    with suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.testzip() is None
    return False


def of_gallery(folder: Path, query: np.ndarray) -> None:
    """Load a gallery and search in it."""
    gallery = Gallery.load(folder)
    if len(gallery):
        gallery.search(query)


def of_cuhk(root: Path) -> None:
    """Read the protocol of CUHK03."""
    DATASETS.build({'type': 'CUHK03', 'data_root': str(root), 'check': 'off'}).full_init()


# ---------------------------------------------------------------- configs and options


VALUES = [
    None,
    -1,
    0,
    1.5,
    'x',
    [],
    {},
    [1, 'x'],
    True,
    10**30,
    float('nan'),
    {'type': 'Unknown'},
    '',
    [[]],
    -0.5,
]
CONFIG = 'vit_s_market_usl'


def leaves(value: Any, path: str = '') -> Iterator[str]:
    """List the dotted keys of a config."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inner = f'{path}.{key}'.strip('.')
        yield inner
        yield from leaves(item, inner)


def of_config(path: str, options: dict[str, Any] | None = None) -> None:
    """Read a config and check it, as a training does."""
    prepare_config(load_config(path, options))


def of_option(text: str) -> None:
    """Read the value of an option; what is written back is read alike."""
    value = parse_value(text)
    if not isinstance(value, str) and repr(parse_value(repr(value))) != repr(value):
        raise AssertionError(f'{value!r} is read as {parse_value(repr(value))!r}')


def configs(random: Random, folder: Path) -> Iterator[Input]:
    """Config files, overrides, and values of options."""
    whole = load_config(CONFIG)
    keys = [key for key in leaves(whole._cfg_dict.to_dict()) if not key.startswith(('env_cfg', 'visualizer'))]
    text = whole.pretty_text
    for number in range(10**9):
        path = folder / f'config_{number}.py'
        turn = number % 4
        if turn == 0:
            way, content = damage(random, text.encode())
            path.write_bytes(content)
            yield Input(
                f'config {way}', partial(of_config, str(path)), (path.name, *keys), way in ('page', 'noise')
            )
        elif turn == 1:
            lines = [
                f"_base_ = ['{path.name}']",
                "_base_ = ['missing.py']",
                'import missing_module',
                'model = dict(type=1',
                "custom_imports = dict(imports=['missing_module'])",
                'train_cfg = 5',
                'raise RuntimeError',
                'model = undefined',
                'x = 1 / 0',
            ]
            path.write_text(f'{random.choice(lines)}\n')
            yield Input(f'config {path.read_text()!r}', partial(of_config, str(path)), (path.name, 'missing'))
        elif turn == 2:
            key, value = str(random.choice(keys)), VALUES[random.integers(len(VALUES))]
            if random.integers(3) == 0:
                place = int(random.integers(len(key)))
                key = key[:place] + str(random.choice(['x', '.', '9', ' '])) + key[place:]
            parts = (key, key.rpartition('.')[0] or key, key.split('.')[0])
            yield Input(f'option {key}={value!r}', partial(of_config, CONFIG, {key: value}), parts, False)
        else:
            signs = [*'[](){}\'",:=.0123456789eE-+_ axTrue\\', 'dict(', 'None', 'inf', 'nan']
            option = ''.join(random.choice(signs, int(random.integers(1, 30))))
            yield Input(f'value {option!r}', partial(of_option, option), ('never',), False)


# ---------------------------------------------------------------- checkpoints


def checkpoints(random: Random, folder: Path) -> Iterator[Input]:
    """Checkpoints, for a model and for a resume."""
    cfg = Config(
        {
            'type': 'UnsupervisedReID',
            'backbone': {'type': 'ResNet', 'depth': 18},
            'neck': {'type': 'ReIDNeck', 'in_channels': 512},
            'head': {'type': 'ContrastHead', 'memory': {'type': 'ClusterMemory'}},
        }
    )
    model = MODELS.build(cfg._cfg_dict)
    state = dict(model.state_dict())
    small = {name: torch.ones(2) for name in islice(state, 5)}
    for number in range(10**9):
        place = folder / str(number)
        place.mkdir()
        path = place / ('x.safetensors' if number % 5 == 1 else 'epoch_1.pth')
        content: Any = small
        if number % 5 == 1:
            save_file(small, path)
        elif number % 5 == 2:
            content = {
                'meta': {'epoch': 1, 'iter': 2},
                'message_hub': {},
                'state_dict': small,
                'optimizer': {'param_groups': []},
            }
            torch.save(content, path)
        elif number % 5 == 3:
            content = wrong_content(random, state)
            torch.save(content, path)
        else:
            torch.save(small, path, _use_new_zipfile_serialization=bool(number % 5))
        way = 'of other content'
        whole = path.read_bytes()
        if number % 5 != 3:
            way, damaged = damage(random, whole)
            path.write_bytes(damaged)
        intact = path.read_bytes() == whole
        checked = way in ('cut', 'noise', 'empty', 'page', 'of other content') or (
            whole.startswith(b'PK') and not is_intact(path.read_bytes())
        )
        doors: list[Callable[[], Any]] = [partial(load_checkpoint_file, path)]
        if number % 5 == 2:
            doors = [partial(newest_checkpoint, place)]
        elif number % 5 == 3:
            doors = [partial(load_model_checkpoint, model, path)]
        about = f'{path.name} {way} ({number % 5})'
        yield Input(
            about, quiet(doors[0]), (path.name, str(place)), (checked and not intact) or number % 5 == 3
        )


def wrong_content(random: Random, state: Mapping[str, torch.Tensor]) -> Any:
    """Make what is no checkpoint of the model."""
    name = str(random.choice([name for name in state if 'num_batches' not in name]))
    bad = state[name].clone().float()
    bad.view(-1)[:1] = float(random.choice([np.nan, np.inf]))
    wrong: list[Any] = [
        {},
        [],
        None,
        5,
        'text',
        torch.ones(3),
        {'state_dict': {}},
        {'state_dict': None},
        {'state_dict': {'state_dict': {'state_dict': {}}}},
        {1: torch.ones(2)},
        {'model': Call()},
        {**state, name: torch.ones(7, 7, 7)},
        {key: value for key, value in state.items() if key != name},
        {key: value for key, value in state.items() if 'bn' not in key},
        {**state, 'backbone.extra.weight': torch.ones(2)},
        dict.fromkeys(state, 'text'),
        {**state, name: bad},
        {**state, name: state[name].to_sparse()},
        {name: value.to(torch.complex64) for name, value in state.items()},
        {**{f'{name}.x': value for name, value in state.items()}},
    ]
    return wrong[random.integers(len(wrong))]


# ---------------------------------------------------------------- arrays


def arrays(random: Random, folder: Path) -> Iterator[Input]:
    """Arrays: features, labels, cameras and images in memory."""
    people = random.normal(size=(6, 8)).astype(np.float32)
    good = people.repeat(6, 0) + 0.1 * random.normal(size=(36, 8)).astype(np.float32)
    labels = np.arange(6).repeat(6)
    for number in range(10**9):
        features = good.copy()
        features[int(random.integers(36)), int(random.integers(8))] = random.choice([np.nan, np.inf, -np.inf])
        wrong_features: list[Any] = [
            features,
            good[:, :0],
            good[:0],
            good[0],
            good[None],
            good.astype(object),
            good.astype(str),
            good.astype(complex),
            np.zeros_like(good),
            None,
            'features',
            [[1, 2], [3]],
            {},
            torch.from_numpy(features),
            torch.from_numpy(good).to(torch.complex64),
            torch.from_numpy(good).to_sparse(),
            features.astype(np.float16),
            good.astype('>f4'),
            good * 1e38,
            np.ma.masked_invalid(features),
            *odd_tensors(torch.from_numpy(good)),
        ]
        wrong_labels: list[Any] = [
            labels[:-1],
            labels[:, None],
            labels + 0.5,
            labels.astype(str),
            labels - 5,
            np.full(36, -2),
            np.full(36, np.nan),
            None,
            labels.astype(bool),
            np.full(36, 2**62),
            labels.astype(object),
            'labels',
            torch.from_numpy(labels)[None],
            np.full(36, 2**63, np.uint64),
        ]
        wrong_images: list[Any] = [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((4, 4, 3)),
            np.zeros((0, 4, 3), np.uint8),
            torch.zeros(4, 4, 3),
            torch.full((3, 4, 4), 2.0),
            torch.full((3, 4, 4), float('nan')),
            torch.zeros(0),
            5,
            None,
            b'bytes',
            np.zeros((3, 4, 4), np.uint8),
            [[np.zeros((4, 4, 3), np.uint8)]],
            torch.zeros(3, 4, 4, dtype=torch.int64),
            torch.zeros(3, 4, 4).to_sparse(),
            *odd_tensors(torch.zeros(3, 4, 4)),
            np.zeros((2, 2, 4, 4, 3), np.uint8),
        ]
        some, others = (wrong[random.integers(len(wrong))] for wrong in (wrong_features, wrong_labels))
        image = wrong_images[random.integers(len(wrong_images))]
        texts = [str(row) for row in range(36)]
        doors: dict[str, tuple[Any, Callable[[], Any]]] = {
            'JaccardDBSCAN': (some, partial(JaccardDBSCAN(k1=5, k2=2), some)),
            'AdaptiveConsensus': (some, partial(AdaptiveConsensus(), some)),
            'GLC features': (some, partial(GLC(k=5), some, labels)),
            'GLC labels': (others, partial(GLC(k=5), good, others)),
            'ReIDFeatures': (some, partial(of_features, some, texts)),
            'ReIDFeatures pids': (others, partial(ReIDFeatures, good, texts, others)),
            'evaluate_ranking features': (some, partial(of_ranking, some, good, labels)),
            'evaluate_ranking pids': (others, partial(of_ranking, good, good, others)),
            'list_images': (image, partial(of_images, image)),
        }
        name = list(doors)[number % len(doors)]
        value, door = doors[name]
        words = ('features', 'labels', 'pids', 'image', 'query', 'gallery', 'images')
        shape = () if getattr(value, 'is_nested', False) else tuple(getattr(value, 'shape', ()))
        about = f'{name}: {type(value).__name__} {getattr(value, "dtype", "")} {shape}'
        yield Input(about, quiet(door), words, is_wrong(name, value))


def odd_tensors(values: torch.Tensor) -> list[torch.Tensor]:
    """Return values in the forms of tensors that few programs use."""
    return [
        torch.quantize_per_tensor(values, 0.1, 0, torch.quint8),
        values.to('meta'),
        torch.nested.nested_tensor([values, values]),
        values.bfloat16(),
        values.clone().requires_grad_(),
        values.to(torch.complex64).conj(),
    ]


def is_wrong(door: str, value: Any) -> bool:
    """Whether an array can mean nothing: no numbers, or features that are not finite."""
    if value is None and door == 'ReIDFeatures pids':
        return False
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        return True
    if isinstance(value, torch.Tensor):
        if value.is_nested or value.is_quantized or value.is_meta:
            return True
        value = value.to_dense().detach()
        value = (value.float() if value.is_floating_point() else value.resolve_conj()).numpy()
    return door != 'list_images' and (
        value.dtype.kind in 'OUc' or not np.isfinite(np.asarray(value, np.float64)).all()
    )


def of_features(features: Any, texts: list[str]) -> None:
    """Make a gallery."""
    Gallery.of(ReIDFeatures(features, texts))


def of_ranking(query: Any, gallery: Any, pids: Any) -> None:
    """Score a ranking."""
    known = np.arange(6).repeat(6)
    evaluate_ranking(query, gallery, pids, known, known % 2, np.arange(36) % 2)


def of_images(image: Any) -> None:
    """List images in memory."""
    list(list_images(image))


# ---------------------------------------------------------------- all of them


KINDS: Mapping[str, tuple[Callable[[Random, Path], Iterator[Input]], int]] = {
    'images': (images, 300),
    'names': (names, 150),
    'lists': (lists, 150),
    'archives': (archives, 100),
    'configs': (configs, 120),
    'checkpoints': (checkpoints, 100),
    'arrays': (arrays, 80),
}
"""What makes the inputs of a kind, and how many of 1,000."""


def push(
    folder: Path, number: int = 1000, seed: int = 0, kinds: Any = KINDS
) -> dict[str, list[tuple[str, str, str]]]:
    """Make inputs in a folder, and push them through their doors.

    Returns:
        By kind: how each ended, what it is, and what was said.
    """
    found = {}
    for kind in kinds:
        make, share = KINDS[kind]
        place = folder / kind
        place.mkdir(parents=True)
        items = islice(
            make(np.random.default_rng([seed, list(KINDS).index(kind)]), place), share * number // 1000
        )
        ends = []
        for item in items:
            end, said = outcome(item)
            ends.append((end, item.about, said))
        found[kind] = ends
    return found


def main() -> int:
    """Print a table by kind, and every bad end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--number', type=int, default=1000, help='inputs of all kinds (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--kinds', nargs='+', default=list(KINDS), choices=KINDS, metavar='KIND', help=', '.join(KINDS)
    )
    parser.add_argument('--verbose', action='store_true', help='print what was said of every input')
    args = parser.parse_args()
    MMLogger.get_instance('damaged').setLevel(logging.CRITICAL)
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        found = push(Path(folder), args.number, args.seed, args.kinds)
    print(f'| kind | inputs | {" | ".join(ENDS)} |\n|---|---|---|---|---|---|')
    counts = {kind: Counter(end for end, _, _ in ends) for kind, ends in found.items()}
    counts['all'] = sum(counts.values(), Counter())
    for kind, number in counts.items():
        print(f'| {kind} | {number.total()} | {" | ".join(str(number[end]) for end in ENDS)} |')
    for kind, ends in found.items():
        for end, about, said in ends:
            if end == 'BAD' or args.verbose:
                print(json.dumps([kind, end, about, said[:600]], ensure_ascii=True))
    return 1 if counts['all']['BAD'] else 0


if __name__ == '__main__':
    sys.exit(main())
