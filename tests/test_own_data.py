"""docs/own_data.md: its commands run as printed, whatever is known of the images."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.visualization import Visualizer
from PIL import Image

from tests.test_docs import python_blocks, run_block

ROOT = Path(__file__).resolve().parents[1]
BASH = re.compile(r'^```bash\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# A run of seconds: random weights instead of those of the first command, and few small images.
LOADERS = {
    f'{name}_dataloader.{key}={value}'
    for name in ('train', 'test')
    for key, value in (('num_workers', 0), ('persistent_workers', False), ('batch_size', 8))
}
SMALL = (
    *sorted(LOADERS),
    'train_dataloader.sampler.num_ids=2',
    'train_dataloader.sampler.num_instances=4',
    'train_dataloader.sampler.iterations=2',
    'model.backbone.init_cfg=None',
    'model.bn_group_size=8',
    'default_hooks.pseudo_label.num_workers=0',
    'train_dataloader.dataset.pipeline.1.scale=(32,64)',
    'train_dataloader.dataset.pipeline.3.size=(32,64)',
    'test_dataloader.dataset.pipeline.1.scale=(32,64)',
    'train_cfg.max_epochs=1',
)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in BASH.findall(page) for line in block.splitlines()]


def write_crops(root: Path, known: str) -> int:
    """Crops of five people, all, some or none of them named; the number of images."""
    root.mkdir(parents=True)
    number = 0
    for person in ('alice', 'b-2', '007', 'dan', 'eve'):
        colors = np.random.default_rng(sum(map(ord, person))).integers(0, 256, (8, 4, 3))
        for camera in ('door', 'hall'):
            for shot in range(8):
                number += 1
                pixels = np.kron(colors, np.ones((8, 8, 1)))
                pixels += np.random.default_rng(number).normal(0, 8, pixels.shape)
                named = known == 'all' or (known == 'some' and shot < 3)
                start = f'{person}_{camera}_' if named else ''
                name = f'{start}{number:04d}.{"PNG" if camera == "hall" else "jpg"}'
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name)
    return number


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder like the project's root, with the leaf of the page."""
    page = (ROOT / 'docs/own_data.md').read_text()
    (tmp_path / 'configs/my').mkdir(parents=True)
    for name in ('_base_', 'glc'):
        (tmp_path / 'configs' / name).symlink_to(ROOT / 'configs' / name)
    leaf = python_blocks(page)[0]
    (tmp_path / re.match(r'# (\S+\.py)\n', leaf).group(1)).write_text(leaf)
    monkeypatch.chdir(tmp_path)
    return page


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs a command line of Python in this process and returns what it prints."""

    def call(command, *options):
        _, tool, *arguments = command
        monkeypatch.setattr(sys, 'argv', [tool, *arguments, *options])
        monkeypatch.setenv('LOCAL_RANK', '0')
        Visualizer._instance_dict.clear()  # one is kept per second, with the work dir of the run before
        try:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        except SystemExit as end:
            if end.code:
                raise
        return capfd.readouterr().out

    return call


def test_the_page_names_tools_and_leaves_that_exist(project):
    for command in commands(project):
        assert command[0] == 'python'
        assert (ROOT / command[1]).is_file()
    for leaf in re.findall(r'`(\w+_image_folder)`', project):
        assert (ROOT / f'configs/glc/{leaf}.py').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('known', ['none', 'some', 'all'])
def test_from_a_folder_to_a_search(project, run, tmp_path, known):
    total = write_crops(tmp_path / 'crops', known)
    listed = commands(project.replace('epoch_50', 'epoch_1'))
    assert len(listed) == 10
    check, prepare, verify, _, train, test, draw, extract, export, evaluate = listed
    options = ('--cfg-options', *SMALL)

    assert f'{total} images in' in run(check)
    kinds = {line.split(',')[1] for line in Path('problems.csv').read_text().splitlines()[1:]}
    assert not kinds & {'corrupt', 'two identities'}

    run(prepare, '--test-share', '0.4')
    counts = {
        part: len(list(Path('data/my_images', part).rglob('*.*'))) for part in ('train', 'query', 'gallery')
    }
    # Two of five people; of nobody known, two fifths of the images.
    assert list(counts.values()) == {'none': [48, 4, 28], 'some': [68, 4, 8], 'all': [48, 4, 28]}[known]
    table = [line.split()[:2] for line in run(verify).splitlines()]
    assert table[-3:] == [[part, str(count)] for part, count in counts.items()]
    run(train, *options)

    printed = run(extract, *options)
    assert f'{counts["train"]} images, 1280 channels: features.npz' in printed
    with np.load('features.npz', allow_pickle=False) as file:
        people, names = file['pid'].tolist(), file['path'].tolist()
        assert len(file['features']) == counts['train']
    if known == 'all':
        assert len(set(people)) == 3
        assert len({name.split('/')[1] for name in names}) == 3
    else:
        assert -1 in people
    run_block(python_blocks(project)[1], tmp_path)

    lines = run(draw, *options).splitlines()
    shown = [line for line in lines if line.startswith('query/')]
    assert len(shown) == counts['query']
    assert all(re.fullmatch(r'query/\S+( \(AP \S+ %\))?:( gallery/\S+){1,10}', line) for line in shown)
    assert Image.open('ranked.png').size > (64, 64)

    if known == 'none':
        with pytest.raises(RuntimeError, match='evaluation needs query and gallery images'):
            run(test, *options)
    else:
        run(test, *options)
        assert 0 < json.loads(Path('scores.json').read_text())['reid/mAP'] <= 100
    if known == 'all':  # the same without names
        pytest.importorskip('onnxscript', reason='exports need onnx, onnxruntime and onnxscript')
        assert 'reid.onnx: onnx, float32' in run(export, *options)
        row = run(evaluate, *options).splitlines()[-1].split()
        assert row[:2] == ['reid.onnx', 'float32']
        assert [abs(float(loss)) < 0.1 for loss in row[-2:]] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    'leaf', sorted(path.stem for path in (ROOT / 'configs/glc').glob('*_image_folder.py'))
)
def test_every_leaf_trains(project, run, tmp_path, leaf):
    write_crops(tmp_path / 'data/my_images', 'none')
    for path in sorted(Path('data/my_images').glob('*.*'))[16:]:
        path.unlink()
    sizes = [option for option in SMALL if 'pipeline' not in option and 'iterations' not in option]
    run(
        ['python', 'tools/train.py', f'configs/glc/{leaf}.py', '--work-dir', 'run', '--cfg-options', *sizes],
        'train_dataloader.sampler.iterations=1',
        'default_hooks.pseudo_label.labeler.type=KMeansLabeler',
        'default_hooks.pseudo_label.labeler.num_clusters=2',
    )
    assert Path('run/epoch_1.pth').stat().st_size > 1e5
