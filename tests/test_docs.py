"""The code in the documentation runs as printed, and its links lead somewhere."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from sklearn.cluster import DBSCAN

from glc.core.evaluation import label_quality
from glc.core.labelers import AdaptiveConsensus, MultiScaleConsensus, SelfPacedReliability
from glc.core.labels import PseudoLabels
from glc.core.memories import CameraMemory, HybridMemory
from glc.core.neighbors.knn import unit_knn_graph
from glc.engine import MeanTeacherHook
from glc.registry import DATASETS, HOOKS, LABEL_CORRECTORS, MEMORY_BANKS, MODELS, PSEUDO_LABELERS

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
TEXT = re.compile(r'^```text\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FIGURES = re.compile(r'\d+(\.\d+)?')
FENCED = re.compile(r'^```\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[str]:
    return FENCE.findall(text)


def run_block(block: str, folder: Path) -> dict:
    path = folder / 'block.py'
    path.write_text(block)
    return runpy.run_path(str(path))


@pytest.mark.slow
def test_plug_and_play_loop_learns(tmp_path, capsys):
    page = (ROOT / 'docs/plug_and_play.md').read_text()
    (block,) = python_blocks(page)
    assert len(block.splitlines()) <= 40
    run_block(block, tmp_path)
    shown, printed = TEXT.search(page).group(1), capsys.readouterr().out
    assert FIGURES.sub('', printed) == FIGURES.sub('', shown)
    *before_and_after, perfect = (float(score) for score in re.findall(r'F (\d\.\d\d)', printed))
    # in other releases and on other machines the last digits differ
    assert [*before_and_after, perfect] == pytest.approx(
        [float(score) for score in re.findall(r'F (\d\.\d\d)', shown)], abs=0.05
    )
    assert all(
        after >= before for before, after in zip(before_and_after[::2], before_and_after[1::2], strict=True)
    )
    assert perfect == 1


def test_readme_snippet_runs(tmp_path):
    readme = (ROOT / 'README.md').read_text()
    section = re.search(
        r'^#+ Plug and play$(.*?)(?=^#+ |\Z)', readme, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    assert section, 'README.md has no heading "Plug and play"'
    blocks = python_blocks(section.group(1))
    assert blocks, 'no python block under "Plug and play"'
    run_block(blocks[0], tmp_path)


@pytest.mark.slow
def test_label_engine_snippet_searches_every_metric_once(tmp_path, monkeypatch):
    (block,) = python_blocks((ROOT / 'docs/label_engine.md').read_text())
    searches = []

    def search(features, k, *args, **kwargs):
        searches.append(k)
        return unit_knn_graph(features, k, *args, **kwargs)

    monkeypatch.setattr('glc.core.neighbors.view.unit_knn_graph', search)
    result = run_block(block, tmp_path)
    # what labeler and corrector expect, twice, because cameras choose among the neighbors
    # the features as they are, and those in the metric that the labels teach
    assert searches == [2 * max(result['labeler'].expected_k, result['corrector'].expected_k)] * 2
    assert label_quality(result['corrected'], np.arange(30).repeat(12))['pairwise_f'] > 0.9


def test_readme_scores_are_rows_of_the_results():
    """The figures of the README stand in docs/results.md, in a table with the same columns."""
    header = '| labels | corrector | mAP | mINP | Rank-1 | Rank-5 | Rank-10 |'
    lines = (ROOT / 'README.md').read_text().splitlines()
    assert header in lines
    start = lines.index(header) + 2
    rows = lines[start : lines.index('', start)]
    results = (ROOT / 'docs/results.md').read_text()
    table = results[results.index(header) :].partition('\n\n')[0].splitlines()
    assert len(rows) == 12
    assert set(rows) <= set(table)
    # no other table of the README has figures
    assert [line for line in lines if line.startswith('|') and re.search(r'\b\d{2}\.\d', line)] == rows


def test_tests_that_the_fidelity_page_names_exist():
    named = re.findall(r'`(tests/\S+\.py)::(test_\w+)`', (ROOT / 'docs/fidelity.md').read_text())
    assert len(named) > 15
    for path, test in named:
        assert f'def {test}(' in (ROOT / path).read_text(), (path, test)


def test_tree_of_the_architecture_is_the_tree_of_the_package():
    tree = FENCED.search((ROOT / 'docs/architecture.md').read_text()).group(1)
    listed, folders = set(), []
    for line in tree.splitlines():
        names = re.split(r'\s{2,}', line.strip())[0].split(', ')
        depth = (len(line) - len(line.lstrip())) // 2
        for name in names:
            folders[depth:] = [name]
            listed.add('/'.join(part.rstrip('/') for part in folders))
    assert [path for path in sorted(listed) if not (ROOT / path).exists()] == []
    rooms = {path.parent for path in (ROOT / 'glc').glob('**/__init__.py')}
    nested = {'models', 'datasets', 'engine'}  # the line of the room names its folders
    rooms = {room.relative_to(ROOT).as_posix() for room in rooms if room.parent.name not in nested}
    assert rooms - listed == set()


@pytest.mark.slow
def test_picture_of_an_epoch_is_what_its_script_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['draw_epoch.py', '--out', str(tmp_path / 'epoch.png')])
    runpy.run_path(str(ROOT / 'tools/docs/draw_epoch.py'), run_name='__main__')
    drawn, kept = (
        np.asarray(Image.open(path).convert('RGB'), dtype=float)
        for path in (tmp_path / 'epoch.png', ROOT / 'docs/one_epoch.png')
    )
    assert drawn.shape == kept.shape
    # releases of matplotlib may differ in the edges of letters; labels that change differ in many points
    assert np.mean(np.abs(drawn - kept).max(axis=2) > 64) < 0.002


@pytest.fixture(scope='module')
def swaps(tmp_path_factory):
    """The leaves of docs/swap_components.md, written where it says, beside links to the configs."""
    folder = tmp_path_factory.mktemp('swaps')
    (folder / 'configs').mkdir()
    for name in ('_base_', 'glc'):
        (folder / 'configs' / name).symlink_to(ROOT / 'configs' / name)
    for block in python_blocks((ROOT / 'docs/swap_components.md').read_text()):
        path = folder / re.match(r'# (\S+\.py)\n', block).group(1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    sys.path.insert(0, str(folder))
    try:
        with DefaultScope.overwrite_default_scope('glc'):
            yield folder / 'configs' / 'my'
    finally:
        sys.path.remove(str(folder))


def load_swap(swaps: Path, name: str) -> tuple[Config, Config]:
    """The leaf, and the one that it differs from in one component."""
    return Config.fromfile(swaps / f'{name}.py'), Config.fromfile(ROOT / 'configs/glc/vit_s_market_usl.py')


def test_components_are_swapped(swaps):
    names = {'mean_memory', 'multi_neck', 'resnet_backbone', 'own_memory', 'own_labeler', 'own_corrector'}
    names |= {'camera_memory', 'hybrid_memory', 'reliable_labels', 'mean_teacher', 'own_images'}
    assert {path.stem for path in swaps.glob('*.py')} == names
    for name in names:
        assert len((swaps / f'{name}.py').read_text().splitlines()) <= 20


def test_memory_swap(swaps):
    cfg, original = load_swap(swaps, 'mean_memory')
    assert MEMORY_BANKS.build(original.model.head.memory).mode == 'hard'
    assert MEMORY_BANKS.build(cfg.model.head.memory).mode == 'mean'


@pytest.mark.parametrize(('name', 'kind'), [('camera_memory', CameraMemory), ('hybrid_memory', HybridMemory)])
def test_other_memories(swaps, name, kind):
    assert type(MEMORY_BANKS.build(load_swap(swaps, name)[0].model.head.memory)) is kind


def test_own_memory(swaps):
    memory = MEMORY_BANKS.build(load_swap(swaps, 'own_memory')[0].model.head.memory)
    features = torch.eye(4)[[0, 0, 1, 2]]
    memory.reset(PseudoLabels.from_features(features, torch.tensor([0, 0, 1, -1])))
    memory.update(features[3:], torch.tensor([1]))
    assert memory.bank.tolist() == torch.eye(4)[:2].tolist()
    expected = torch.tensor([1.0, 1.0]).mul(-20).exp().log1p().mean()
    assert memory(features[[0, 2]], torch.tensor([0, 1])).item() == pytest.approx(expected.item(), abs=1e-6)


def test_reliable_labels_and_mean_teacher(swaps):
    hook = HOOKS.build(load_swap(swaps, 'reliable_labels')[0].default_hooks.pseudo_label)
    assert isinstance(hook.labeler, SelfPacedReliability)
    assert isinstance(hook.labeler.labeler, MultiScaleConsensus)
    hooks = load_swap(swaps, 'mean_teacher')[0].default_hooks
    assert isinstance(HOOKS.build(hooks.mean_teacher), MeanTeacherHook)


def test_neck_swap(swaps):
    cfg, original = load_swap(swaps, 'multi_neck')
    tokens = torch.randn(4, 4, 384)
    before, after = MODELS.build(original.model.neck), MODELS.build(cfg.model.neck)
    assert (before.multi, before(tokens).shape) == (False, (4, 768))
    assert (after.multi, after(tokens).shape) == (True, (4, 384))


@pytest.mark.slow
def test_backbone_swap(swaps):
    cfg = load_swap(swaps, 'resnet_backbone')[0]
    original = Config.fromfile(ROOT / 'configs/glc/vit_s_market_usl_published.py')
    assert original.model.backbone.type != cfg.model.backbone.type
    cfg.model.backbone.pop('init_cfg', None)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        assert model.extract_feat(torch.randn(1, 3, 256, 128)).shape == (1, 2048)
    assert cfg.model.data_preprocessor != original.model.data_preprocessor
    for part in ('train_dataloader', 'default_hooks', 'optim_wrapper', 'param_scheduler'):
        assert cfg[part] == original[part]


def test_own_images(swaps, tmp_path):
    cfg, _ = load_swap(swaps, 'own_images')
    assert isinstance(HOOKS.build(cfg.default_hooks.pseudo_label).labeler, AdaptiveConsensus)
    for name in ('door/1.jpg', 'hall/1.jpg'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': str(tmp_path)})
    assert dataset.cam_ids.tolist() == [0, 1]
    assert cfg.val_cfg is cfg.val_dataloader is None


def test_labeler_swap(swaps):
    cfg, _ = load_swap(swaps, 'own_labeler')
    labeler = PSEUDO_LABELERS.build(cfg.default_hooks.pseudo_label.labeler)
    features = np.random.default_rng(0).normal(size=(6, 16)).repeat(8, 0).astype(np.float32)
    features += 0.01 * np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    labels = labeler(features)
    np.testing.assert_array_equal(labels, DBSCAN(eps=0.5, min_samples=4).fit_predict(unit))
    assert labels.max() == 5
    assert type(HOOKS.build(cfg.default_hooks.pseudo_label).labeler).__name__ == 'EuclideanDBSCAN'


def test_corrector_swap(swaps):
    cfg, _ = load_swap(swaps, 'own_corrector')
    corrector = LABEL_CORRECTORS.build(cfg.default_hooks.pseudo_label.corrector)
    labels = np.repeat([0, 1, 2], [8, 7, 9])
    corrected = corrector(np.eye(24, dtype=np.float32), labels)
    np.testing.assert_array_equal(corrected, np.repeat([0, -1, 1], [8, 7, 9]))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'lines'), [('own_folder', 1), ('plug_and_play', 3)])
def test_notebook_runs(name, lines, tmp_path):
    notebook = nbformat.read(ROOT / f'docs/notebooks/{name}.ipynb', as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={'metadata': {'path': tmp_path}})
    client.execute(env={**os.environ, 'PYTHONPATH': str(ROOT)})
    printed = ''.join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == 'code'
        for output in cell.outputs
        if output.output_type == 'stream' and output.name == 'stdout'
    )
    assert len(re.findall(r'^.*\b\d+ clusters, \d+ outliers', printed, re.MULTILINE)) == lines, printed


# ---------------------------------------------------------------- parts of one's own, in docs/faq.md


@pytest.fixture(scope='module')
def faq_parts(tmp_path_factory):
    """What the code of docs/faq.md defines, by name."""
    folder, parts = tmp_path_factory.mktemp('faq'), {}
    for block in python_blocks((ROOT / 'docs/faq.md').read_text()):
        lines = [line for line in block.splitlines() if line and not re.match('#|import |from ', line)]
        assert len(lines) <= 20
        parts |= run_block(block, folder)
    return parts


def test_labeler_of_the_faq(faq_parts):
    assert PSEUDO_LABELERS.get('MutualPairs') is faq_parts['MutualPairs']
    angles = np.deg2rad([0, 2, 5, 90, 91, 200])
    labels = faq_parts['MutualPairs']()(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert labels.tolist() == [0, 0, -1, 1, 1, -1]


def test_corrector_of_the_faq(faq_parts):
    assert LABEL_CORRECTORS.get('DropFarImages') is faq_parts['DropFarImages']
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0, 1], [0.1, 1.0]])
    corrected = faq_parts['DropFarImages'](0.7)(features, np.array([0, 0, 0, 1, 1]))
    assert corrected.tolist() == [0, 0, -1, 1, 1]


def test_backbone_of_the_faq(faq_parts):
    backbone = MODELS.build(dict(type='SmallNetwork', depth=3))
    assert type(backbone) is faq_parts['SmallNetwork']
    assert backbone(torch.zeros(2, 3, 64, 32)).shape == (2, backbone.out_channels, 8, 4)


# ---------------------------------------------------------------- links

PAGES = sorted(
    path
    for pattern in ('*.md', 'docs/**/*.md', 'configs/*/*.md', '.github/**/*.md')
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r'\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)')


def without_code(text: str) -> str:
    return re.sub(r'^```.*?^```$|`[^`\n]*`', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and mkdocs.yml make them."""
    text = re.sub(r'^```.*?^```$', '', path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page):
    dead = []
    for target, anchor in LINK.findall(without_code(page.read_text())):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and path.suffix == '.md' and anchor not in anchors(path)):
            dead.append(f'{target}#{anchor}' if anchor else target)
    assert not dead


def test_the_home_page_leads_to_every_page():
    """Over any number of links from the README, on the repository as on the site."""
    seen, waiting = set(), [ROOT / 'README.md']
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != '.md' or not page.is_file():
            continue
        seen.add(page)
        waiting += [
            (page.parent / target).resolve() for target, _ in LINK.findall(page.read_text()) if target
        ]
    docs = set((ROOT / 'docs').rglob('*.md'))
    assert docs - seen == set()


@pytest.mark.slow
def test_site_is_built_without_a_warning(tmp_path):
    """With `pip install -r requirements/docs.txt`, which is no requirement of the tests."""
    pytest.importorskip('mkdocs')
    pytest.importorskip('mkdocstrings_handlers.python')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    home, labelers = (
        (tmp_path / name).read_text() for name in ('index.html', 'api/glc.core.labelers/index.html')
    )
    assert 'href="own_data/"' in home
    assert 'id="glc.core.labelers.AdaptiveConsensus"' in labelers
    assert ':class:' not in labelers
