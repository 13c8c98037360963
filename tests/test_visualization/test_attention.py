"""Pictures of attention show the right map in the right place, and the tool draws those of the network."""

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from glc.cli.draw_attention import main
from glc.visualization import draw_attention_maps
from tests.runs import tiny_config, write_images


def test_maps_lie_over_their_images_in_their_columns(tmp_path):
    paths = [tmp_path / f'{index}.png' for index in range(2)]
    for path, color in zip(paths, ((0, 0, 0), (255, 255, 255)), strict=True):
        Image.new('RGB', (12, 30), color).save(path)
    upper, lower = np.zeros((2, 4, 2)), np.zeros((2, 4, 2))
    upper[:, 0], lower[:, 3] = 1, 5
    picture = np.asarray(draw_attention_maps(paths, {'one': upper, 'two': lower}, size=(20, 40)), int)
    redness = picture[..., 0] - picture[..., 2]
    left, top, step_x, step_y = 4, 16, 24, 44
    for row, color in enumerate((0, 255)):
        y = top + step_y * row
        assert (picture[y : y + 40, left : left + 20] == color).all(), 'the image itself'
        for column, (most, least) in enumerate(((2, 37), (37, 2)), 1):
            x = left + step_x * column + 10
            assert redness[y + most, x] > 20 > -5 > redness[y + least, x]


def test_maps_of_other_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"map 'cls' must be \(N, h, w\) for 1 images, got \(2, 4, 2\)"):
        draw_attention_maps([tmp_path / 'a.png'], {'cls': np.zeros((2, 4, 2))})


@pytest.mark.slow
def test_the_tool_draws_images_of_the_test_set_and_named_ones(tmp_path, capsys):
    images = write_images(tmp_path / 'market1501', num_ids=2, per_camera=1)
    cfg = tiny_config(images, tmp_path / 'run')
    cfg.dump(tmp_path / 'config.py')
    assert Config.fromfile(tmp_path / 'config.py').model.backbone.type == 'TinyBackbone'
    main([str(tmp_path / 'config.py'), '--number', '3', '--work-dir', str(tmp_path / 'run')])
    assert '3 images under 1 maps (activation)' in capsys.readouterr().out
    with Image.open(tmp_path / 'run' / 'attention.png') as picture:
        assert picture.size == (2 * 68 + 4, 16 + 3 * 132 + 4)
    names = [str(path) for path in sorted((images / 'query').iterdir())[:1]]
    out = tmp_path / 'one.png'
    main([str(tmp_path / 'config.py'), '--images', *names, '--out', str(out)])
    with Image.open(out) as picture:
        assert picture.size == (2 * 68 + 4, 16 + 132 + 4)
