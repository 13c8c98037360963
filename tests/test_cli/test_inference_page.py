"""docs/inference.md: its code runs, and its commands are understood."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from glc.cli import cluster, extract
from glc.models.backbones import OSNet
from tests.test_docs import python_blocks, run_block
from tools.docs import draw_clusters

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/inference.md').read_text()


@pytest.mark.slow
def test_the_code_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(OSNet('x0_25').state_dict(), 'osnet_x0_25_msmt17.pth')
    for name in ('crops/0001_c1.png', 'crops/0001_c2.png', 'crops/0002_c1.png', 'query/eve.jpg'):
        Path(name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (64, 32, 3), dtype=np.uint8)
        cv2.imwrite(name, pixels)
    (block,) = python_blocks(PAGE)
    run_block(block, tmp_path)
    shape, *best, gallery = capsys.readouterr().out.splitlines()[-5:]
    assert shape == '(3, 512) crops/0001_c1.png 0'
    assert all(re.fullmatch(r'query/eve.jpg looks like crops/\S+.png: -?\d\.\d\d', line) for line in best)
    assert re.fullmatch(r'Gallery\(3 images, 512 channels, network [0-9a-f]{16}\)', gallery)
    assert Path('people/gallery.json').is_file()


def test_the_commands_of_the_page():
    blocks = re.findall(r'^```bash\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [name for name, *_ in commands] == ['glc-extract'] + 4 * ['glc-cluster']
    for name, *arguments in commands:
        {'glc-extract': extract, 'glc-cluster': cluster}[name].command_line().parse_args(arguments)


@pytest.mark.slow
def test_the_picture_of_the_page_is_what_its_script_draws(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['draw_clusters.py', '--out', str(tmp_path / 'clusters.jpg')])
    draw_clusters.main()
    drawn, kept = (
        cv2.imread(str(path)).astype(float)
        for path in (tmp_path / 'clusters.jpg', ROOT / 'docs/clusters.jpg')
    )
    # on other machines the correction may end with another image in a cluster
    width, height = min(drawn.shape[1], kept.shape[1]), 160  # title and first row of the largest cluster
    assert abs(drawn.shape[0] - kept.shape[0]) <= 200
    first, second = (picture[:height, :width] for picture in (drawn, kept))
    assert np.mean(np.abs(first - second).max(axis=2) > 64) < 0.3
