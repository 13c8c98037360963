"""Configs are found by path or name, from any folder."""

from pathlib import Path

import pytest

from glc.apis import find_config, load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('vit_s_market_usl', 'glc/vit_s_market_usl.py'),  # cluster_contrast has one too
        ('cluster_contrast/vit_s_market_usl', 'cluster_contrast/vit_s_market_usl.py'),
        ('configs/cluster_contrast/vit_s_market_usl.py', 'cluster_contrast/vit_s_market_usl.py'),
        ('vit_s_market_sup.py', 'source/vit_s_market_sup.py'),
    ],
)
def test_names_work_in_any_folder(name, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIGS / path


def test_files_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('vit_s_market_usl').write_text('')
    assert find_config('vit_s_market_usl') == Path('vit_s_market_usl')


def test_unknown_names_get_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='did you mean vit_s_market_usl') as caught:
        find_config('glc/vit_s_markt_usl')
    assert str(tmp_path / 'glc/vit_s_markt_usl') in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r'has no such name$'):
        find_config('_base_/default_runtime')


def test_a_name_of_two_folders_is_ambiguous(tmp_path, monkeypatch):
    for leaf in ('one/leaf.py', 'two/leaf.py', '_base_/leaf.py'):
        (tmp_path / leaf).parent.mkdir()
        (tmp_path / leaf).touch()
    monkeypatch.setattr('glc.apis.config_names._CONFIGS', tmp_path)
    with pytest.raises(ValueError, match='one/leaf, two/leaf; name the folder too'):
        find_config('leaf')


def test_a_config_of_the_package_has_a_work_dir_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('demo_synthetic').work_dir == 'work_dirs/demo_synthetic'
