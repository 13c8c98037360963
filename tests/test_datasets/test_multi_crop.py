"""Crops for pre-training: sizes, places, probabilities, seeds; and the sampler that draws them."""

import numpy as np
import pytest
import torch
from PIL import Image

from glc.datasets import Draw, Market1501
from glc.datasets.samplers import ShuffledSampler
from glc.datasets.transforms import PackMultiCrop, PartMultiCrop
from glc.models import MultiCropDataPreprocessor

from .layouts import write_market

PLAIN = dict(global_size=(16, 32), local_size=(8, 16), blur=(0, 0, 0), solarise=0)


def ramp(height=64, width=32):
    """Rows that tell where they come from: the value is the row."""
    return np.repeat(np.arange(height, dtype=np.uint8)[:, None, None], width, 1).repeat(3, 2)


@pytest.fixture
def no_color(monkeypatch):
    monkeypatch.setattr('torchvision.transforms.ColorJitter.forward', lambda self, image: image)


def test_crops_come_from_their_parts(no_color):
    torch.manual_seed(0)
    crop = PartMultiCrop(**PLAIN, crops_per_part=2)
    seen = []
    for _ in range(60):
        crops = crop(dict(img=ramp()))['crops']
        assert [image.shape for image in crops['global']] == [(32, 16, 3)] * 2
        assert [image.shape for image in crops['local']] == [(16, 8, 3)] * 6
        seen.append([image[..., 0] for image in crops['local']])
    for part, (top, bottom) in enumerate([(0, 32), (16, 48), (32, 64)]):
        rows = np.stack([image for crops in seen for image in crops[2 * part : 2 * part + 2]])
        assert rows.min() >= top
        assert rows.max() < bottom
        assert rows.min() <= top + 3
        assert rows.max() >= bottom - 4


def test_windows_cover_the_areas_asked_for(no_color):
    """The rows that a window spans, times its columns, from ramps in both directions."""
    image = ramp(120, 120)
    image[..., 0] = image[..., 1].T  # blue tells the column, green and red the row
    torch.manual_seed(0)
    crop = PartMultiCrop(**{**PLAIN, 'global_size': (64, 64), 'local_size': (64, 64)})
    areas = {'global': [], 'local': []}
    for _ in range(40):
        for name, crops in crop(dict(img=image))['crops'].items():
            for one in crops:
                if (one[..., 1] != one[..., 0]).any():  # not made gray
                    spans = [np.ptp(one[..., channel].astype(float)) for channel in (0, 1)]
                    areas[name].append(np.prod(spans) / 120**2)
    assert 0.3 < min(areas['global']) < 0.5
    assert max(areas['global']) > 0.85
    assert min(areas['local']) < 0.1  # 0.1 to 0.8 of half of the image
    assert 0.3 < max(areas['local']) < 0.45


def test_blur_and_solarization_have_their_own_probabilities(monkeypatch):
    seen = []
    crop = PartMultiCrop(global_size=(16, 32), local_size=(8, 16))
    for view in (*crop.views, crop.local_view):
        blur, solarise = view.transforms[-2:]
        seen.append((blur.p, solarise.p))
    assert seen == [(1.0, 0.0), (0.1, 0.2), (0.5, 0.0)]
    jitter = crop.local_view.transforms[2]
    assert jitter.p == 0.8
    (color,) = jitter.transforms
    for name, value in (('brightness', 0.4), ('contrast', 0.4), ('saturation', 0.2)):
        assert getattr(color, name) == pytest.approx((1 - value, 1 + value))
    assert color.hue == pytest.approx((-0.1, 0.1))
    assert [crop.local_view.transforms[i].p for i in (1, 3)] == [0.5, 0.2]
    black = Image.new('RGB', (8, 8))
    assert np.asarray(crop.views[1].transforms[-1].forward(black)).max() == 0
    monkeypatch.setattr(crop.views[1].transforms[-1], 'p', 1.0)
    white = Image.new('RGB', (8, 8), 'white')
    assert np.asarray(crop.views[1].transforms[-1](white)).max() == 0


def test_colors_stay_in_their_channels(no_color):
    """A blue image (BGR) stays blue through pillow and back, packed and normalized."""
    image = np.zeros((64, 32, 3), np.uint8)
    image[..., 0] = 255
    torch.manual_seed(1)
    packed = PackMultiCrop()(
        PartMultiCrop(**PLAIN, crops_per_part=1)(dict(img=image, sample_idx=3, pid=9, img_path='a.jpg'))
    )
    assert packed['inputs']['global'].shape == (2, 3, 32, 16)
    assert packed['inputs']['local'].shape == (3, 3, 16, 8)
    assert packed['inputs']['global'].dtype == torch.uint8
    assert packed['data_samples'].sample_idx == 3
    assert packed['data_samples'].get('pid') is None
    preprocessor = MultiCropDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)
    batch = preprocessor({'inputs': {'local': [packed['inputs']['local']] * 2}, 'data_samples': []})
    rgb = batch['inputs']['local']
    assert rgb.shape == (3, 2, 3, 16, 8)
    means = rgb.mean((-1, -2)).flatten(0, 1)
    gray = means.std(1) < 1
    assert not gray.all()
    torch.testing.assert_close(means[~gray], torch.tensor([[0.0, 0.0, 255.0]]).expand(int((~gray).sum()), 3))


def test_preprocessor_keeps_views_and_images_apart():
    crops = [torch.full((2, 3, 1, 1), 10 * image, dtype=torch.uint8) for image in range(3)]
    for image, tensor in enumerate(crops):
        tensor[1] += 1 + image
    preprocessor = MultiCropDataPreprocessor(mean=[0.0] * 3, std=[2.0] * 3)
    inputs = preprocessor({'inputs': {'global': crops}})['inputs']['global']
    assert inputs[:, :, 0, 0, 0].tolist() == [[0.0, 5.0, 10.0], [0.5, 6.0, 11.5]]
    plain = preprocessor({'inputs': [torch.full((3, 1, 1), 4, dtype=torch.uint8)]})['inputs']
    assert plain.flatten().tolist() == [2.0, 2.0, 2.0]


def test_seeded_per_draw(tmp_path):
    write_market(tmp_path)
    dataset = Market1501(
        tmp_path, check='off', pipeline=[dict(type='LoadReIDImage'), PartMultiCrop(**PLAIN), PackMultiCrop()]
    )
    first, again, other = (dataset[Draw(0, seed)]['inputs'] for seed in (5, 5, 6))
    for name in ('global', 'local'):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def draws(monkeypatch, size, batch, rank=0, world=1, epoch=0, seed=0):
    monkeypatch.setattr('glc.datasets.samplers.shuffled_sampler.get_dist_info', lambda: (rank, world))
    sampler = ShuffledSampler(range(size), batch, seed=seed)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def test_processes_share_the_global_batches(monkeypatch):
    whole = draws(monkeypatch, 23, 8)
    assert len(whole) == len({draw.index for draw in whole}) == 16
    halves = [draws(monkeypatch, 23, 8, rank, 2) for rank in (0, 1)]
    assert [*halves[0][:4], *halves[1][:4], *halves[0][4:], *halves[1][4:]] == whole
    assert draws(monkeypatch, 23, 8) == whole
    assert draws(monkeypatch, 23, 8, epoch=1) != whole
    assert draws(monkeypatch, 23, 8, seed=1) != whole


def test_with_labels_outliers_are_not_drawn_and_permutations_fill_the_iterations(monkeypatch):
    monkeypatch.setattr('glc.datasets.samplers.shuffled_sampler.get_dist_info', lambda: (0, 1))
    labels = torch.arange(23) % 5 - 1
    labeled = set(torch.nonzero(labels >= 0).flatten().tolist())
    sampler = ShuffledSampler(range(23), 8, seed=3, iterations=5)
    sampler.assign_labels(labels)
    drawn = [draw.index for draw in sampler]
    assert len(drawn) == len(sampler) == 40
    for start in (0, 16):  # 18 images fill two batches
        assert len(set(drawn[start : start + 16])) == 16
    assert drawn[:16] != drawn[16:32]
    assert set(drawn) <= labeled
    assert len({draw.seed for draw in sampler}) == 40
    sampler.iterations = None
    assert [draw.index for draw in sampler] == drawn[:16]
    with pytest.raises(ValueError, match='4 images with a label are less than one global batch of 8'):
        sampler.assign_labels(torch.arange(23).clamp(max=4) * -1 + 3)
    with pytest.raises(ValueError, match='got 5 for 23 images'):
        sampler.assign_labels(labels[:5])


def test_batches_that_cannot_be_drawn(monkeypatch):
    with pytest.raises(ValueError, match='9 images cannot be shared by 2 processes'):
        draws(monkeypatch, 23, 9, 0, 2)
    with pytest.raises(ValueError, match='7 images are less than one global batch of 8'):
        draws(monkeypatch, 7, 8)
