"""From images of any form to features with names, and to search results."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from glc.apis import Gallery, NamedImage, ReIDInferencer, inferencer, training_features, video_crops
from glc.datasets import Market1501
from glc.engine import FeatureExtractor, feature_extractor
from glc.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def infer(network):
    return ReIDInferencer(network.config, network.weights, 'cpu')


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
    """Six images without loss."""
    folder = tmp_path_factory.mktemp('crops')
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (8, 4, 3)).repeat(9, 0).repeat(8, 1).astype(np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), pixels)
    return folder


def same(first, second):
    """Whether features are the same, bit for bit."""
    return np.array_equal(first.features, second.features)


@pytest.mark.slow
def test_features_are_those_of_the_tool_bit_for_bit(network, infer, tmp_path, monkeypatch):
    tool = ROOT / 'tools/analysis_tools/extract_features.py'
    out = tmp_path / 'features.npz'
    options = ['--out', out, '--work-dir', tmp_path / 'log']
    monkeypatch.setattr(sys, 'argv', [*map(str, [tool, network.config, network.weights, *options])])
    runpy.run_path(str(tool), run_name='__main__')
    found = infer(network.images)
    with np.load(out) as file:
        assert np.array_equal(found.features, file['features'])
        assert [name.removeprefix(f'{network.images.parent}/') for name in found.names] == file[
            'path'
        ].tolist()
        assert np.array_equal(found.pids, file['pid'])
        assert np.array_equal(found.cam_ids, file['cam'])
    assert np.ptp(found.features, axis=0).max() > 0.01


@pytest.mark.parametrize(
    'form',
    [
        lambda folder, files: folder / '*.png',
        lambda folder, files: files,
        lambda folder, files: iter(map(str, files)),
        lambda folder, files: [files[0], str(folder / '[1-5].png')],
        lambda folder, files: [Image.open(file) for file in files],
        lambda folder, files: [cv2.imread(str(file)) for file in files],
        lambda folder, files: np.stack([cv2.imread(str(file)) for file in files]),
        lambda folder, files: [torch.from_numpy(cv2.imread(str(file))).permute(2, 0, 1) for file in files],
        lambda folder, files: torch.stack(
            [torch.from_numpy(cv2.imread(str(file))).permute(2, 0, 1) / 255 for file in files]
        ),
        lambda folder, files: [NamedImage(file.name, file) for file in files],
    ],
    ids=['glob', 'paths', 'iterator', 'mixed', 'pil', 'arrays', 'array', 'tensors', 'tensor', 'named'],
)
def test_every_form_of_images_gives_the_same_features(infer, crops, form):
    assert same(infer(form(crops, sorted(crops.iterdir()))), infer(crops))


def test_names_say_what_is_what(infer, crops):
    files = sorted(crops.iterdir())
    assert infer(crops).names == [str(file) for file in files]
    assert infer([Image.open(files[0]), files[1], NamedImage('eve', Image.open(files[2]), 7, 1)]).names == [
        'image_0',
        str(files[1]),
        'eve',
    ]
    known = infer([NamedImage('eve', files[0], 7, 1)])
    assert (known.pids.tolist(), known.cam_ids.tolist(), infer(crops).pids.tolist()) == ([7], [1], [-1] * 6)


def test_channels_are_in_the_order_that_the_keyword_says(infer, crops):
    bgr = cv2.imread(str(crops / '0.png'))
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    assert same(infer(rgb, color='rgb'), infer(bgr))
    assert not same(infer(rgb), infer(bgr))
    with pytest.raises(ValueError, match="'color' parameter"):
        infer(rgb, color='hsv')


def test_an_iterator_is_computed_piece_by_piece(infer, crops, monkeypatch):
    monkeypatch.setattr(inferencer, '_BATCHES_AT_ONCE', 2)
    arrays = [cv2.imread(str(file)) for file in sorted(crops.iterdir())] * 2
    seen = []

    def watched():
        for array in arrays:
            seen.append(len(extracted))
            yield array

    extracted = []
    extract = inferencer.FeatureExtractor.__call__
    monkeypatch.setattr(
        inferencer.FeatureExtractor,
        '__call__',
        lambda self, model: extracted.append(len(self.dataset)) or extract(self, model),
    )
    found = infer(watched(), batch_size=2)
    assert extracted == [4, 4, 4]
    assert seen == [0] * 4 + [1] * 4 + [2] * 4
    assert same(found, infer(arrays, batch_size=2))
    assert found.names[-1] == 'image_11'


def test_patterns_tell_identities_and_cameras(network, infer, crops):
    found = infer(network.images, pattern=r'(?P<pid>\d+)_c')
    assert set(found.pids.tolist()) == set(range(1, 9))
    assert set(found.cam_ids.tolist()) == {-1}
    assert set(infer(network.images, pattern=None).pids.tolist()) == {-1}
    with pytest.raises(ValueError, match=r"pattern .* does not match '0.png'"):
        infer(crops, pattern=r'(?P<pid>[a-z]+)_c')


def test_flip_test_and_half_precision(network, infer, crops):
    flipped = ReIDInferencer(network.config, network.weights, flip_test=True)
    files = sorted(crops.iterdir())
    both = infer(crops).features + infer([cv2.imread(str(file))[:, ::-1] for file in files]).features
    np.testing.assert_allclose(
        flipped(crops).features, both / np.linalg.norm(both, axis=1, keepdims=True), atol=1e-5
    )
    half = infer(crops, amp=True).features
    np.testing.assert_allclose(half, infer(crops).features, atol=0.02)
    assert not np.array_equal(half, infer(crops).features)


def test_features_normalized_by_camera(network, infer, monkeypatch):
    with pytest.raises(ValueError, match='no camera has 64 images'):
        infer(network.images, camera_norm=True)
    with pytest.raises(ValueError, match='not an iterator'):
        infer(iter([network.images]), camera_norm=True)
    monkeypatch.setattr(feature_extractor, '_MEASURED_BATCH', 24)
    with pytest.raises(ValueError, match='Are the cameras known'):
        infer(network.images, pattern=None, camera_norm=True)
    found = infer(network.images, camera_norm=True)
    dataset = Market1501(str(network.images.parent), pipeline=infer.pipeline, check='off')
    expected = FeatureExtractor(dataset, 7, 0, camera_norm=True)(infer.model)
    names = [Path(name).name for name in found.names]
    order = [names.index(Path(path).name) for path in dataset.paths]
    np.testing.assert_allclose(found.features[order], expected, atol=1e-5)
    plain = infer(network.images)
    assert np.abs(found.features - plain.features).max() > 0.05
    assert Gallery.of(found).search(found, 1)
    with pytest.raises(ValueError, match=r'network \w+, camera_norm\).* with or without camera_norm'):
        Gallery.of(found).search(plain)


def test_search_finds_the_image_itself(infer, crops):
    files = sorted(crops.iterdir())
    found = infer.search(files[2:4], crops, topk=3)
    assert found.queries == [str(file) for file in files[2:4]]
    assert [names[0] for names in found.names] == found.queries
    assert found.scores.shape == (2, 3)
    assert np.allclose(found.scores[:, 0], 1)
    (query, first), _ = found
    assert first == list(zip(found.names[0], found.scores[0].tolist(), strict=True))
    gallery = Gallery.of(infer(crops))
    assert infer.search(infer(files[2:4]), gallery, topk=3).names == found.names
    assert query == str(files[2])


def test_unreadable_images_are_named_or_left_out(infer, crops, tmp_path):
    files = sorted(crops.iterdir())
    (tmp_path / 'bad.png').write_bytes(files[0].read_bytes()[:100])
    inputs = [files[0], tmp_path / 'bad.png', cv2.imread(str(files[1]))]
    with pytest.raises(RuntimeError, match=r'bad\.png'):
        infer(inputs)
    assert infer(inputs, unreadable='skip').names == [str(files[0]), 'image_0']
    with pytest.raises(ValueError, match='none that can be read'):
        infer(tmp_path, unreadable='skip')


@pytest.mark.parametrize(
    ('inputs', 'error', 'message'),
    [
        ('missing.jpg', FileNotFoundError, "missing.jpg' does not exist"),
        ('missing/*.jpg', FileNotFoundError, 'no image matches'),
        ([], ValueError, 'there is no image'),
        ([None], TypeError, 'not a NoneType'),
        (np.zeros((4, 4), np.uint8), ValueError, r'got ndarray \(4, 4\) of uint8'),
        (np.zeros((4, 4, 3)), ValueError, 'of float64'),
        (torch.full((3, 4, 4), 255.0), ValueError, r'must be in \[0, 1\], got 255 to 255'),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), ValueError, r'tensors \(3, H, W\)'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_image_is_refused(infer, inputs, error, message):
    with pytest.raises(error, match=message):
        infer(inputs)


def test_a_folder_without_images_says_what_is_there(infer, tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(FileNotFoundError, match=r'no image in .*; found there: 1 \.txt'):
        infer(tmp_path)


def test_the_fingerprint_is_that_of_the_weights(network, infer, tmp_path):
    content = torch.load(network.weights, weights_only=True)
    content['state_dict']['neck.bottleneck.weight'][0] += 1e-6
    torch.save(content, tmp_path / 'other.pth')
    again, other = (
        ReIDInferencer(network.config, path) for path in (network.weights, tmp_path / 'other.pth')
    )
    assert len(infer.network) == 16
    assert infer.network == again.network != other.network


def test_weights_of_the_backbone_alone(network, infer, crops, tmp_path):
    state = torch.load(network.weights, weights_only=True)['state_dict']
    bare = {
        key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')
    }
    torch.save(bare, tmp_path / 'bare.pth')
    assert same(ReIDInferencer(network.config, tmp_path / 'bare.pth')(crops), infer(crops))


def test_without_weights_the_message_says_what_to_do(network, tmp_path):
    with pytest.raises(ValueError, match='give weights=FILE'):
        ReIDInferencer(network.config)
    with pytest.raises(FileNotFoundError, match=r"pretrained/osnet_x0_25_msmt17\.pth' does not exist"):
        ReIDInferencer('osnet_x0_25_msmt2market_uda')


def test_weights_of_the_config_are_those_that_training_starts_from(network, crops, tmp_path):
    cfg = Config.fromfile(network.config)
    torch.save(MODELS.build(cfg.model).backbone.state_dict(), tmp_path / 'start.pth')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'start.pth'))
    cfg.train_dataloader.dataset.data_root = str(network.images.parent)
    cfg.work_dir = str(tmp_path / 'log')
    found = ReIDInferencer(cfg)(network.images)
    assert np.array_equal(found.features, training_features(cfg)[0].numpy())


@pytest.fixture
def video(tmp_path):
    """Four frames, of one gray each."""
    writer = cv2.VideoWriter(str(tmp_path / 'door.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for frame in range(1, 5):
        writer.write(np.full((48, 64, 3), 50 * frame, np.uint8))
    writer.release()
    return tmp_path / 'door.avi'


def test_crops_of_a_video(infer, video, tmp_path):
    boxes = tmp_path / 'boxes.txt'
    boxes.write_text('1,3,10,5,20,40,0.9,-1,-1,-1\n4,8,-5,30,15,40,0.8,-1,-1,-1\n4,3,70,0,9,9,1,-1,-1,-1\n')
    crops = list(video_crops(video, boxes))
    assert [crop.name for crop in crops] == ['door.avi/000001_3_0', 'door.avi/000004_8_1']
    assert [crop.image.shape for crop in crops] == [(40, 20, 3), (18, 10, 3)]
    assert [round(crop.image.mean(), -1) for crop in crops] == [50, 200]
    found = infer(video_crops(video, boxes))
    assert found.names == [crop.name for crop in crops]
    assert found.pids.tolist() == [3, 8]
    boxes.write_text('height,width,top,left,frame\n40,20,5,10,1\n')
    (crop,) = video_crops(video, boxes, name='hall')
    assert (crop.name, crop.pid, crop.image.shape) == ('hall/000001_-1_0', -1, (40, 20, 3))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('9,1,0,0,5,5', r"door\.avi' ends after frame 4, but there are boxes of frame 9"),
        ('1,1,0,0,5', 'box 1 must be frame, id, left, top, width, height'),
        ('1,1,0,0,5,x', 'box 1 must be frame'),
        ('0,1,0,0,5,5', 'box 1 must have a frame from 1'),
        ('1,1,0,0,5,0', 'a width and height above 0'),
        ('frame,left,top,width\n1,0,0,5', r"boxes\.csv': it lacks the columns height"),
    ],
)
def test_boxes_that_are_none(video, tmp_path, text, message):
    (tmp_path / 'boxes.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        list(video_crops(video, tmp_path / 'boxes.csv'))


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / 'video.mp4').write_text('no video')
    with pytest.raises(ValueError, match='OpenCV cannot read the video'):
        list(video_crops(tmp_path / 'video.mp4', [(1, 1, 0, 0, 5, 5)]))
