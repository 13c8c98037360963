"""Weights that are missing are named, with the place where they come from."""

import re

import pytest

from glc.checkpoints import load_checkpoint_file
from glc.checkpoints.sources import source_of
from tests.runs import ROOT

NAMED = sorted(
    {
        name
        for path in (ROOT / 'configs').rglob('*.py')
        if 'my' not in path.parts
        for name in re.findall(r"checkpoint='([^']+\.pth)'", path.read_text())
    }
)


@pytest.mark.parametrize('name', NAMED)
def test_every_file_that_a_config_names_has_a_source(name):
    source = source_of(name)
    assert source
    config = re.search(r'configs/\S+', source)
    assert config is None or (ROOT / config[0]).is_file()


def test_a_missing_file_is_named_with_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_checkpoint_file('pretrained/resnet50-0676ba61.pth')
    assert str(caught.value).startswith(
        f"checkpoint '{tmp_path}/pretrained/resnet50-0676ba61.pth' does not exist"
    )
    assert 'https://download.pytorch.org/models/resnet50-0676ba61.pth' in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r'mine\.pth. does not exist\. Starting weights at'):
        load_checkpoint_file('mine.pth')
