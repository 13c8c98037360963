"""Drawn figures in the layout of Market-1501, for demonstrations and tests without downloads."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import Pool
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from glc.registry import DATASETS

from .base import Counts, Record
from .figures import CLOTH, LOWER, Person, pick
from .market1501 import Market1501
from .scenes import Camera, Walk, render

_GENERATOR = 2
"""Version of the drawings: raise it when the same seed gives other images."""
_OUTFITS = 60
"""Colour pairs that all people share."""
_FRAMES = 4
"""Frames of one passage in front of a camera."""


@dataclass(frozen=True)
class SyntheticSpec:
    """What to draw.

    Attributes:
        train_ids: Identities of the training part.
        train_images: Images of each of them.
        test_ids: Other identities, in the query and gallery parts.
        test_images: Images of each of them; the first one per camera is a query.
        distractors: Gallery images of people who are not searched.
        junk: Gallery images that missed the person.
        cameras: Cameras, 2 or more; each person passes some of them.
        seed: Any non-negative integer.

    Raises:
        ValueError: If a number is too small, or there are more identities than four digits can name.
    """

    train_ids: int = 100
    train_images: int = 20
    test_ids: int = 80
    test_images: int = 10
    distractors: int = 120
    junk: int = 60
    cameras: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        least = {'train_images': 4, 'test_images': 4, 'train_ids': 1, 'test_ids': 1, 'cameras': 2}
        for name, value in asdict(self).items():
            if value < least.get(name, 0):
                raise ValueError(f'{name} must be at least {least.get(name, 0)}, got {value}')
        if self.train_ids + self.test_ids + self.distractors + self.junk > 9999:
            raise ValueError('at most 9,999 identities, distractors and junk images together')


class Job(NamedTuple):
    """One image to draw.

    Attributes:
        path: File below the data set's folder.
        person: Number of the person drawn; distractors and junk have one too.
        cam_id: Camera, 0-based.
        frame: Number of the image among those of the person at this camera.
        junk: Whether the detector missed the person.
    """

    path: str
    person: int
    cam_id: int
    frame: int
    junk: bool = False


def plan(spec: SyntheticSpec) -> list[Job]:
    """List all images of a data set, before any is drawn."""
    jobs: list[Job] = []
    train, query, gallery = (Market1501.folders[part] for part in Market1501.parts)
    people = iter(range(1, 10000))
    for _ in range(spec.train_ids):
        person = next(people)
        jobs += [_job(train, person, person, *seen) for seen in _passages(spec, person, spec.train_images)]
    for _ in range(spec.test_ids):
        person = next(people)
        for cam_id, frame in _passages(spec, person, spec.test_images):
            jobs.append(_job(gallery if frame else query, person, person, cam_id, frame))
    for pid, images in ((0, spec.distractors), (-1, spec.junk)):
        for _ in range(images):
            person = next(people)
            cam_id = int(_rng(spec.seed, 2, person).integers(spec.cameras))
            jobs.append(_job(gallery, pid, person, cam_id, 0))
    return jobs


def draw(seed: int, job: Job) -> np.ndarray:
    """Draw one image of a plan; it depends on the arguments alone.

    Args:
        seed: The seed of the data set.
        job: Which image.

    Returns:
        Image ``(128, 64, 3)``, uint8 BGR.
    """
    camera = _camera(seed, job.cam_id)
    walk = Walk.sample(_rng(seed, 4, job.person, job.cam_id, job.frame // _FRAMES), camera)
    rng = _rng(seed, 5, job.person, job.cam_id, job.frame)
    passer_by = _person(seed, 10000 + int(rng.integers(200)))
    return render(_person(seed, job.person), camera, walk, passer_by, rng, job.junk)


def make_synthetic(out: str | Path, spec: SyntheticSpec | None = None, workers: int | None = None) -> bool:
    """Draw a data set, unless it is already there.

    The folder appears only when it is complete: an interrupted run leaves nothing that looks like a data set.

    Args:
        out: Folder of the data set.
        spec: What to draw; the defaults of :class:`SyntheticSpec` if None.
        workers: Processes that draw; one per core if None. The images do not depend on it.

    Returns:
        True if the data set was drawn, False if the same one was there.

    Raises:
        FileExistsError: If the folder holds something else, or an incomplete data set.

    Example:
        >>> import tempfile
        >>> from glc.datasets import SyntheticReID, SyntheticSpec, make_synthetic
        >>> spec = SyntheticSpec(train_ids=2, train_images=4, test_ids=2, test_images=4, distractors=1)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     made = make_synthetic(root, spec, workers=1), make_synthetic(root, spec, workers=1)
        ...     dataset = SyntheticReID(root)
        >>> made, len(dataset), sorted(set(dataset.pids.tolist()))
        ((True, False), 8, [1, 2])
    """
    out, spec = Path(out), spec or SyntheticSpec()
    jobs = plan(spec)
    if out.exists() and any(out.iterdir()):
        _check_same(out, spec, jobs)
        return False
    unfinished = out.with_name(f'{out.name}.{uuid.uuid4().hex}')
    try:
        for folder in Market1501.folders.values():
            (unfinished / folder).mkdir(parents=True)
        _draw_all(unfinished, spec, jobs, workers)
        (unfinished / 'meta.json').write_text(
            json.dumps(_meta(spec, jobs), indent=2) + '\n', encoding='utf-8'
        )
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


@DATASETS.register_module()
class SyntheticReID(Market1501):
    """Drawn figures in the layout of Market-1501, made by :func:`make_synthetic`.

    The counts that are checked are those in the ``meta.json`` of the generator. Takes the arguments of
    :class:`BaseReIDDataset`; see :func:`make_synthetic` for an example.
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'SyntheticReID'}
    layout = (
        f'{Market1501.layout}\n  meta.json\n'
        'made by: python tools/dataset_tools/make_synthetic.py --out DATA_ROOT'
    )

    def expected_counts(self, part: str) -> Counts | None:
        """Counts that the generator wrote.

        Raises:
            FileNotFoundError: If there is no ``meta.json``.
        """
        path = os.path.join(self.data_root, 'meta.json')
        try:
            with open(path, encoding='utf-8') as file:
                return Counts(**json.load(file)['counts'][part])
        except FileNotFoundError:
            raise self.missing(path) from None


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@lru_cache(maxsize=64)
def _camera(seed: int, cam_id: int) -> Camera:
    return Camera.sample((seed, 0, cam_id))


@lru_cache(maxsize=1024)
def _person(seed: int, number: int) -> Person:
    outfits = _rng(seed, 1)
    pairs = [(pick(outfits, CLOTH), pick(outfits, LOWER)) for _ in range(_OUTFITS)]
    rng = _rng(seed, 3, number)
    return Person.sample(rng, pick(rng, pairs))


def _passages(spec: SyntheticSpec, person: int, images: int) -> Iterator[tuple[int, int]]:
    """Camera and frame number of each image of a person, spread evenly over at least two cameras."""
    rng = _rng(spec.seed, 2, person)
    most = min(spec.cameras, images // 2)
    seen = rng.permutation(spec.cameras)[: rng.integers(min(3, most), most + 1)]
    for image in range(images):
        yield int(seen[image % len(seen)]), image // len(seen)


def _job(folder: str, pid: int, person: int, cam_id: int, frame: int) -> Job:
    passage, moment = divmod(frame, _FRAMES)
    name = f'{pid:04d}' if pid >= 0 else '-1'
    number = 100 * person + 10 * moment
    path = f'{folder}/{name}_c{cam_id + 1}s{passage + 1}_{number:06d}_{moment:02d}.jpg'
    return Job(path, person, cam_id, frame, junk=pid == -1)


def _meta(spec: SyntheticSpec, jobs: list[Job]) -> dict:
    counts = {}
    for part, folder in Market1501.folders.items():
        paths = [job.path for job in jobs if job.path.startswith(f'{folder}/')]
        records = [Record(path, *Market1501.parse(os.path.basename(path))) for path in paths]
        counts[part] = Market1501.count(records)._asdict()
    return {'generator': _GENERATOR, 'spec': asdict(spec), 'counts': counts}


def _check_same(out: Path, spec: SyntheticSpec, jobs: list[Job]) -> None:
    advice = f"delete '{out}' or choose another folder"
    try:
        found = json.loads((out / 'meta.json').read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise FileExistsError(f"'{out}' exists and is not a synthetic data set: {advice}") from None
    if found != _meta(spec, jobs):
        made = f'{found.get("spec")}, generator {found.get("generator")}'
        raise FileExistsError(f"'{out}' holds another synthetic data set ({made}): {advice}")
    absent = [job.path for job in jobs if not (out / job.path).is_file()]
    if absent:
        raise FileExistsError(f"'{out}' lacks {len(absent):,} images, the first being {absent[0]}: {advice}")


def _draw_all(root: Path, spec: SyntheticSpec, jobs: list[Job], workers: int | None) -> None:
    workers = os.cpu_count() if workers is None else workers
    tasks = [(str(root), spec, job) for job in jobs]
    bar = {'desc': 'drawing images', 'total': len(jobs), 'disable': None}
    if workers <= 1:
        for task in tqdm(tasks, **bar):
            _write(task)
        return
    # Threads of OpenCV do not survive a fork, and a child that ends them waits for ever: end them before.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with Pool(workers) as pool:
            for _ in tqdm(pool.imap_unordered(_write, tasks, chunksize=8), **bar):
                pass
    finally:
        cv2.setNumThreads(threads)


def _write(task: tuple[str, SyntheticSpec, Job]) -> None:
    root, spec, job = task
    camera = _camera(spec.seed, job.cam_id)
    image = draw(spec.seed, job)
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    with open(os.path.join(root, job.path), 'wb') as file:
        file.write(encoded.tobytes())
