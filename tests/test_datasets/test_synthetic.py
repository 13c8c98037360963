"""The drawn data set."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from glc.datasets import SyntheticReID, SyntheticSpec, make_synthetic, synthetic
from glc.datasets.drawing import jobs

SPEC = SyntheticSpec(
    train_ids=3, train_images=6, test_ids=2, test_images=5, distractors=2, junk=1, cameras=3, seed=1
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('synthetic') / 'data'
    assert make_synthetic(out, SPEC, workers=1)
    return out


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_plan_follows_the_protocol():
    spec = SyntheticSpec()
    jobs = synthetic.plan(spec)
    assert len({job.path for job in jobs}) == len(jobs)
    train = [job for job in jobs if job.path.startswith('bounding_box_train/')]
    query = [job for job in jobs if job.path.startswith('query/')]
    gallery = [job for job in jobs if job.path.startswith('bounding_box_test/')]
    assert len(train) == spec.train_ids * spec.train_images == 2000
    assert len(gallery) + len(query) == spec.test_ids * spec.test_images + spec.distractors + spec.junk
    assert not {job.person for job in train} & {job.person for job in (*query, *gallery)}
    assert max(Counter((job.person, job.cam_id) for job in query).values()) == 1
    seen = {(job.person, job.cam_id) for job in gallery}
    for job in query:
        assert any(person == job.person and cam_id != job.cam_id for person, cam_id in seen)
    assert {job.cam_id for job in train} == set(range(spec.cameras))
    assert min(Counter(job.person for job in train).values()) == spec.train_images


@pytest.mark.slow
def test_images_depend_on_nothing_but_seed_and_job():
    planned = synthetic.plan(SPEC)[:4]
    first = [synthetic.draw(SPEC, job) for job in planned]
    jobs.camera_of.cache_clear()
    jobs.person_of.cache_clear()
    again = [synthetic.draw(SPEC, job) for job in reversed(planned)][::-1]
    for one, other in zip(first, again, strict=True):
        assert one.shape == (128, 64, 3)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], synthetic.draw(replace(SPEC, seed=2), planned[0]))
    assert len({image.tobytes() for image in first}) == len(first)


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_processes(root, tmp_path):
    assert make_synthetic(tmp_path / 'data', SPEC, workers=2)
    assert digests(tmp_path / 'data') == digests(root)


@pytest.mark.slow
def test_processes_start_after_opencv_has_used_threads(tmp_path):
    code = f"""
import cv2, numpy as np
from glc.datasets.synthetic import SyntheticSpec, make_synthetic
cv2.setNumThreads(4)
cv2.resize(np.zeros((3000, 3000, 3), np.uint8), (2000, 2000), interpolation=cv2.INTER_CUBIC)
assert make_synthetic({str(tmp_path / 'data')!r}, {SPEC!r}, workers=2)
assert cv2.getNumThreads() == 4
"""
    subprocess.run([sys.executable, '-c', code], timeout=60, check=True)


def test_loads_with_its_own_counts(root):
    train, test = SyntheticReID(root), SyntheticReID(root, split='test')
    assert (len(train), len(set(train.pids))) == (18, 3)
    assert train.metainfo['dataset_name'] == 'SyntheticReID'
    assert set(test.pids) == {0, 4, 5}
    assert len(test) == 2 * 5 + 2
    assert SyntheticReID.count(test.scan('gallery')).junk == 1


@pytest.mark.slow
def test_missing_images_are_found(root, tmp_path):
    copy = tmp_path / 'data'
    make_synthetic(copy, SPEC, workers=1)
    next((copy / 'query').iterdir()).unlink()
    with pytest.raises(RuntimeError, match='query'):
        SyntheticReID(copy, split='test')
    with pytest.raises(FileExistsError, match='lacks 1 images'):
        make_synthetic(copy, SPEC)
    (copy / 'meta.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'make_synthetic\.py'):
        SyntheticReID(copy)


def test_second_call_does_nothing(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert not make_synthetic(root, SPEC)
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


def test_folder_of_an_earlier_release_is_taken(root, tmp_path):
    copy = tmp_path / 'data'
    shutil.copytree(root, copy)
    meta = json.loads((copy / 'meta.json').read_text())
    for name in ('spread', 'haze', 'outfits'):
        del meta['spec'][name]
    (copy / 'meta.json').write_text(json.dumps(meta))
    assert not make_synthetic(copy, SPEC)
    with pytest.raises(FileExistsError, match='another synthetic data set'):
        make_synthetic(copy, replace(SPEC, haze=60))


def test_options_of_a_domain():
    alike = [jobs.camera_of(replace(SPEC, spread=0), number) for number in range(3)]
    for camera in alike:
        assert (camera.gamma, camera.contrast, camera.saturation) == (1, 1, 1)
        np.testing.assert_allclose(camera.gain, camera.gain[0])
        np.testing.assert_array_equal(camera.slope, 0)
    assert len({jobs.camera_of(SPEC, number).gamma for number in range(3)}) == 3
    assert jobs.camera_of(replace(SPEC, haze=100), 0).scene.std() == 0
    assert jobs.camera_of(replace(SPEC, haze=50), 0).scene.std() > jobs.camera_of(SPEC, 0).scene.std() > 0
    colors = [jobs.person_of(replace(SPEC, outfits=1), number).upper.color for number in range(20)]
    assert (
        np.std(colors, axis=0).max() < 15 < np.std([jobs.person_of(SPEC, n).upper.color for n in range(20)])
    )


def test_another_folder_is_not_touched(root, tmp_path):
    before = digests(root)
    with pytest.raises(FileExistsError, match='another synthetic data set'):
        make_synthetic(root, replace(SPEC, seed=2))
    assert digests(root) == before
    (tmp_path / 'mine.txt').touch()
    with pytest.raises(FileExistsError, match='not a synthetic data set'):
        make_synthetic(tmp_path, SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    drawn = []

    def draw(spec, job):
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(job)
        return np.zeros((128, 64, 3), np.uint8)

    monkeypatch.setattr(synthetic, 'draw', draw)
    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path / 'data', SPEC, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_meta_tells_how_it_was_made(root):
    meta = json.loads((root / 'meta.json').read_text())
    assert SyntheticSpec(**meta['spec']) == SPEC
    assert meta['counts']['train']['images'] == 18


@pytest.mark.parametrize(
    'arguments',
    [
        dict(cameras=1),
        dict(train_images=3),
        dict(seed=-1),
        dict(train_ids=9000, test_ids=1000),
        dict(outfits=0),
        dict(haze=101),
        dict(spread=401),
    ],
)
def test_impossible_specs(arguments):
    with pytest.raises(ValueError, match=r'at (least|most)'):
        SyntheticSpec(**arguments)
