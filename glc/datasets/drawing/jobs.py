"""Which images a drawn data set has, and the drawing of each one."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..market1501 import Market1501
from .figures import CLOTH, LOWER, Person, pick
from .scenes import Camera, Walk, render

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
        spread: How much the cameras differ in color and brightness, in percent.
        haze: How pale the backgrounds are, in percent: the paler, the easier is the data set.
        outfits: Color pairs of upper and lower clothes that all people share.
        seed: Any non-negative integer.

    Raises:
        ValueError: If a number is too small or too large, or there are more identities than four digits can name.
    """

    train_ids: int = 100
    train_images: int = 20
    test_ids: int = 80
    test_images: int = 10
    distractors: int = 120
    junk: int = 60
    cameras: int = 6
    spread: int = 100
    haze: int = 70
    outfits: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            'train_images': 4,
            'test_images': 4,
            'train_ids': 1,
            'test_ids': 1,
            'cameras': 2,
            'outfits': 1,
        }
        for name, value in asdict(self).items():
            if value < least.get(name, 0):
                raise ValueError(f'{name} must be at least {least.get(name, 0)}, got {value}')
        for name, most in {'spread': 400, 'haze': 100}.items():
            if getattr(self, name) > most:
                raise ValueError(f'{name} must be at most {most}, got {getattr(self, name)}')
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


def draw(spec: SyntheticSpec, job: Job) -> np.ndarray:
    """Draw one image of a plan; it depends on the arguments alone.

    Args:
        spec: The data set.
        job: Which image.

    Returns:
        Image (128, 64, 3), uint8 BGR.
    """
    camera = camera_of(spec, job.cam_id)
    walk = Walk.sample(_rng(spec.seed, 4, job.person, job.cam_id, job.frame // _FRAMES), camera)
    rng = _rng(spec.seed, 5, job.person, job.cam_id, job.frame)
    passer_by = person_of(spec, 10000 + int(rng.integers(200)))
    return render(person_of(spec, job.person), camera, walk, passer_by, rng, job.junk)


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@lru_cache(maxsize=64)
def camera_of(spec: SyntheticSpec, cam_id: int) -> Camera:
    """Return a camera of a data set."""
    return Camera.sample((spec.seed, 0, cam_id), spec.spread / 100, spec.haze / 100)


@lru_cache(maxsize=1024)
def person_of(spec: SyntheticSpec, number: int) -> Person:
    """Return a person of a data set."""
    outfits = _rng(spec.seed, 1)
    pairs = [(pick(outfits, CLOTH), pick(outfits, LOWER)) for _ in range(spec.outfits)]
    rng = _rng(spec.seed, 3, number)
    return Person.sample(rng, pick(rng, pairs))


def _passages(spec: SyntheticSpec, person: int, images: int) -> Iterator[tuple[int, int]]:
    """Yield camera and frame number of each image of a person, spread evenly over at least two cameras."""
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
