"""Drawn figures in the layout of Market-1501, for demonstrations and tests without downloads."""

import json
import os
import shutil
import uuid
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path
from typing import ClassVar

import cv2
from tqdm import tqdm

from glc.registry import DATASETS

from .base import Counts, Record
from .drawing import Job, SyntheticSpec, camera_of, draw, plan
from .market1501 import Market1501

_GENERATOR = 2
"""Version of the drawings: raise it when the same seed gives other images."""


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
        """Return the counts that the generator wrote.

        Raises:
            FileNotFoundError: If there is no ``meta.json``.
        """
        path = os.path.join(self.data_root, 'meta.json')
        try:
            with open(path, encoding='utf-8') as file:
                return Counts(**json.load(file)['counts'][part])
        except FileNotFoundError:
            raise self.missing(path) from None


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
    # Folders of earlier releases do not say what could not be chosen then.
    if found | {'spec': asdict(SyntheticSpec()) | found.get('spec', {})} != _meta(spec, jobs):
        made = f'{found.get("spec")}, generator {found.get("generator")}'
        raise FileExistsError(f"'{out}' holds another synthetic data set ({made}): {advice}")
    absent = [job.path for job in jobs if not (out / job.path).is_file()]
    if absent:
        raise FileExistsError(f"'{out}' lacks {len(absent):,} images, the first being {absent[0]}: {advice}")


def _draw_all(root: Path, spec: SyntheticSpec, jobs: list[Job], workers: int | None) -> None:
    workers = (os.cpu_count() or 1) if workers is None else workers
    tasks = [(str(root), spec, job) for job in jobs]
    bar = {'desc': 'drawing images', 'total': len(jobs), 'disable': None}
    # One thread per process; set here, because OpenCV's threads may hang in a process that was forked beside them.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if workers <= 1:
            for task in tqdm(tasks, **bar):
                _write(task)
            return
        with Pool(workers) as pool:
            for _ in tqdm(pool.imap_unordered(_write, tasks, chunksize=8), **bar):
                pass
    finally:
        cv2.setNumThreads(threads)


def _write(task: tuple[str, SyntheticSpec, Job]) -> None:
    root, spec, job = task
    camera = camera_of(spec, job.cam_id)
    image = draw(spec, job)
    _, encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    with open(os.path.join(root, job.path), 'wb') as file:
        file.write(encoded.tobytes())
