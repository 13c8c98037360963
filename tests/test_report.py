"""The report of a run and the pictures of its work dir, made from the command line and read as a person would."""

import base64
import io
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glc.cli import draw_augmentations, draw_curves, draw_labels, draw_map, draw_ranked, draw_schedule, report
from glc.core.correctors import BaseCorrector
from glc.registry import LABEL_CORRECTORS
from glc.utils.scalars import read_scalars
from glc.visualization.report_page import Code, Picture, Section, Table, Text, report_page
from tests.runs import tiny_config, train


@LABEL_CORRECTORS.register_module()
class SplitsOne(BaseCorrector):
    """Cuts the first cluster into halves, so that a report has a change to tell."""

    def _correct(self, view, labels):
        halves = labels.copy()
        halves[np.flatnonzero(labels == 0)[::2]] = labels.max() + 1
        return halves


class Page(HTMLParser):
    """Sections by title: their text, tables and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, dict] = {}
        self.addresses: list[str] = []
        self._part: dict = {'text': ''}  # above the first title
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ('src', 'href') if name in attrs]
        if tag == 'h2':
            self._part = {'title': '', 'text': '', 'pictures': [], 'columns': [], 'rows': []}
        elif tag == 'img':
            self._part['pictures'].append(attrs['src'])
        elif tag == 'th':
            self._part['columns'].append('')
        elif tag == 'tr' and self._part['columns']:
            self._part['rows'].append([])
        elif tag == 'td':
            self._part['rows'][-1].append('')
        if tag not in ('img', 'meta', 'link'):
            self._in.append(tag)

    def handle_endtag(self, tag):
        self._in.pop()

    def handle_data(self, data):
        if self._in[-2:] == ['section', 'h2']:
            self.sections[data] = self._part
        elif self._in[-2:] == ['th', 'button']:
            self._part['columns'][-1] += data
        elif self._in[-1:] == ['td']:
            self._part['rows'][-1][-1] += data
        elif 'section' in self._in:
            self._part['text'] += data


@pytest.fixture(scope='module')
def run(images, tmp_path_factory):
    """Work dir of a run of three epochs, of which the last two correct their labels."""
    folder = tmp_path_factory.mktemp('report') / 'a_run'
    cfg = tiny_config(images, folder, train_cfg__max_epochs=3, train_cfg__val_interval=1)
    hook = dict(corrector=dict(type='SplitsOne'), correct_begin=1)
    cfg.merge_from_dict({f'default_hooks.pseudo_label.{name}': value for name, value in hook.items()})
    train(cfg)
    return folder


@pytest.fixture(scope='module')
def reported(run, tmp_path_factory):
    """The whole report of the run."""
    out = tmp_path_factory.mktemp('page') / 'report.html'
    before = sorted(run.rglob('*'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'umap', None)  # t-SNE: UMAP compiles for half a minute
        report.main([str(run), '--out', str(out)])
    assert sorted(run.rglob('*')) == before  # a report changes nothing of the run
    return out


def size_of(source: str) -> tuple[int, int]:
    """Size of a picture in a page."""
    head, data = source.split(',')
    content = base64.b64decode(data)
    if 'svg' in head:
        width, height = re.search(rb'<svg[^>]* viewBox="0 0 ([\d.]+) ([\d.]+)"', content).groups()
        return round(float(width)), round(float(height))
    return Image.open(io.BytesIO(content)).size


@pytest.mark.slow
def test_report_tells_what_the_run_did(run, reported):
    text = reported.read_text()
    page = Page(text)
    assert list(page.sections) == [
        'Summary',
        'Curves',
        'Schedule',
        'Time per stage',
        'What the correction did',
        'Clusters',
        'Map of the training images',
        'Ranked lists',
        'Config and versions',
    ]
    assert 'Not shown' not in text
    assert all(address.startswith(('data:', '#')) for address in page.addresses)  # no network
    scalars = read_scalars(run)
    summary = page.sections['Summary']['text']
    assert 'The log reaches epoch 3,' in summary
    assert 'The config asks for' not in summary
    assert re.search(r'clusters of epoch 3 the correction made \d+\.', summary)
    best = max(scalars['reid/mAP'].values())
    assert f'after epoch 3: {scalars["reid/mAP"][3]:.1f} %' in summary
    assert f'Best mAP: {best:.1f} %' in summary
    assert 'percentage points in the mean (epochs corrected: 2, from' in summary

    correction = page.sections['What the correction did']
    assert [row[0] for row in correction['rows']] == ['2', '3']
    clusters = page.sections['Clusters']
    assert clusters['columns'][:3] == ['cluster', 'images', 'cameras']
    with np.load(run / 'labels/epoch_3.npz') as file:
        sizes = np.bincount(file['corrected'][file['corrected'] >= 0])
    assert [row[1] for row in clusters['rows']] == [str(size) for size in sizes]
    assert len(clusters['pictures']) == 2
    assert len(page.sections['Ranked lists']['pictures']) == 2  # worst and best
    pictures = [source for part in page.sections.values() for source in part['pictures']]
    assert all(min(size_of(source)) > 0 for source in pictures)
    assert 'torch' in page.sections['Config and versions']['text']
    assert 'UnsupervisedReID' in page.sections['Config and versions']['text']


@pytest.mark.slow
def test_report_of_a_killed_run_shows_what_is_there(run, tmp_path, capsys):
    killed = tmp_path / 'killed'
    shutil.copytree(
        run, killed, ignore=shutil.ignore_patterns('*.pth', 'epoch_2.npz', 'epoch_3.npz', 'last_checkpoint')
    )
    (log,) = killed.glob('*/vis_data/scalars.json')
    lines = log.read_text().splitlines()
    log.write_text('\n'.join([*lines[:3], lines[3][:20]]))  # cut off within a line
    report.main([str(killed)])
    printed = capsys.readouterr()
    assert 'not shown: Ranked lists: the run has no checkpoint' in printed.out
    assert f'report of {killed}: {killed}/report.html' in printed.out
    page = Page((killed / 'report.html').read_text())
    assert 'The log reaches epoch 1,' in page.sections['Summary']['text']
    assert (
        'The config asks for 3 epochs: the run ended before, or is going on'
        in page.sections['Summary']['text']
    )
    assert 'No labels were corrected' in page.sections['Summary']['text']
    assert page.sections['Curves']['pictures']
    assert page.sections['Clusters']['rows']
    assert 'Not shown: ' in page.sections['Map of the training images']['text']


def test_folders_of_no_run_and_empty_runs(tmp_path):
    with pytest.raises(
        SystemExit, match=r'has no config, no log of scalars, no labels and no checkpoint: give'
    ):
        report.main([str(tmp_path)])
    (tmp_path / 'config.py').write_text('model = dict(type="UnsupervisedReID")\n')
    report.main([str(tmp_path)])
    page = Page((tmp_path / 'report.html').read_text())
    assert 'The log has no test score' in page.sections['Summary']['text']
    assert 'Not shown: there is no value of loss' in page.sections['Curves']['text']
    assert 'UnsupervisedReID' in page.sections['Config and versions']['text']


def picture(path: Path) -> tuple[int, int]:
    """Size of a picture that is not of one color."""
    pixels = np.asarray(Image.open(path).convert('RGB'))
    assert pixels.std() > 5
    return pixels.shape[1], pixels.shape[0]


@pytest.mark.slow
def test_pictures_of_a_run(run, tmp_path, capsys):
    draw_curves.main([str(run), '--out', str(tmp_path / 'curves.png')])
    draw_labels.main([str(run), '--out', str(tmp_path / 'labels.png')])
    printed = capsys.readouterr().out
    assert re.search(r'epoch 3: \d+ clusters before the correction, \d+ after it', printed)
    draw_map.main([str(run), '--method', 'pca', '--images', '20', '--out', str(tmp_path / 'map.png')])
    config, weights = next(run.glob('*.py')), run / 'epoch_3.pth'
    ranked = ['--order', 'worst', '--rerank', '--queries', '3', '--out', str(tmp_path / 'ranked.png')]
    capsys.readouterr()
    draw_ranked.main([str(config), str(weights), *ranked])
    scores = [float(score) for score in re.findall(r'\(AP ([\d.]+) %\)', capsys.readouterr().out)]
    assert len(scores) == 3
    assert scores == sorted(scores)
    draw_schedule.main([str(config), '--out', str(tmp_path / 'schedule.png')])
    assert 'correction    2: 2, 3' in capsys.readouterr().out
    draw_augmentations.main(
        [str(config), '--images', '2', '--samples', '3', '--out', str(tmp_path / 'samples.png')]
    )
    for name in ('curves', 'labels', 'map', 'ranked', 'schedule'):
        picture(tmp_path / f'{name}.png')
    width, height = picture(tmp_path / 'samples.png')
    assert width > 4 * 64
    assert height > 2 * 128
    with pytest.raises(
        SystemExit, match='has no corrected labels of epoch 1; labels were kept of the epochs 1, 2, 3'
    ):
        draw_labels.main([str(run), '--epoch', '1'])
    with pytest.raises(SystemExit, match=r'--kinds lost: known are merged'):
        draw_labels.main([str(run), '--kinds', 'lost'])


def test_pictures_of_a_file(tmp_path, capsys):
    path = tmp_path / 'labeled.npz'
    labels = np.repeat([0, 1, 2], 4)
    features = np.eye(6, dtype=np.float32)[labels] + 0.01 * np.random.default_rng(0).normal(size=(12, 6))
    for number in range(12):
        Image.new('RGB', (8, 16), (20 * number, 0, 200)).save(tmp_path / f'{number}.png')
    names = np.array([f'{number}.png' for number in range(12)])
    np.savez(path, features=features, labels=labels, corrected=labels // 2, path=names, cam=labels * 0 - 1)
    draw_labels.main([str(path), '--root', str(tmp_path)])
    printed = capsys.readouterr().out
    assert re.search(r'merged\s+1\s+8 images', printed)
    assert re.search(r'kept\s+1\s+4 images', printed)
    picture(tmp_path / 'labels.png')
    draw_map.main([str(path), '--method', 'pca'])
    picture(tmp_path / 'map.png')
    with pytest.raises(SystemExit, match='nothing to draw: no change is split'):
        draw_labels.main([str(path), '--kinds', 'split'])
    np.savez(path, pid=labels)
    with pytest.raises(SystemExit, match='has no array labels, path, but pid'):
        draw_labels.main([str(path)])
    path.write_bytes(b'no archive')
    with pytest.raises(SystemExit, match=r'cannot be read as an .npz file'):
        draw_map.main([str(path)])
    with pytest.raises(SystemExit, match='does not exist'):
        draw_map.main([str(tmp_path / 'gone.npz')])
    with pytest.raises(SystemExit, match=r'no curves below .* is it the work dir of a training'):
        draw_curves.main([str(tmp_path)])


@pytest.mark.parametrize(
    'tool', [draw_augmentations, draw_curves, draw_labels, draw_map, draw_ranked, draw_schedule, report]
)
def test_help_has_examples(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['--help'])
    name = tool.__name__.rpartition('.')[2]
    assert re.search(rf'examples:\n  (python tools/\w+/{name}\.py|glc-{name}) ', capsys.readouterr().out)


TABLE = Table(['cluster', 'images', 'note'], [[0, 5, 'b'], [1, 1200, 'a'], [2, 30, None], [3, 7, 'c']])


def test_page_escapes_and_keeps_numbers():
    crop = Picture.of(Image.new('RGB', (4, 8)), 'a "crop"')
    page = Page(
        report_page('<run>', 'a & b', [Section('Part', [TABLE, crop, Text('<b>'), Code('c', 'x < y')])])
    )
    part = page.sections['Part']
    assert part['rows'] == [['0', '5', 'b'], ['1', '1,200', 'a'], ['2', '30', ''], ['3', '7', 'c']]
    assert '<b>' in part['text']
    assert 'x < y' in part['text']
    assert size_of(part['pictures'][0]) == (4, 8)


@pytest.fixture(scope='module')
def browser():
    """A headless browser; the tests that need one are skipped where there is none."""
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    places = [shutil.which(name) for name in ('chromium-headless-shell', 'chromium', 'google-chrome')]
    with api.sync_playwright() as playwright:
        for place in (None, *filter(None, places)):
            try:
                opened = playwright.chromium.launch(executable_path=place, args=['--no-sandbox'])
            except api.Error:
                continue
            yield opened
            opened.close()
            return
        pytest.skip('no browser: playwright install chromium, or install chromium-headless-shell')


@pytest.fixture
def opened(browser):
    """Opens a page; fails where the browser complains of it, or it asks for another file."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(180_000)
    complaints, requests = [], []
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', lambda request: requests.append(request.url))

    def call(path: Path):
        page.goto(path.as_uri())
        return page

    yield call
    assert complaints == []
    assert [url for url in requests if not url.startswith('data:')] == [page.url.partition('#')[0]]
    context.close()


def column(page, title: str, place: int = 0) -> list[str]:
    """Texts of a column of a table that has such a title."""
    table = page.locator('table').filter(has=page.get_by_role('button', name=title, exact=True)).nth(place)
    number = table.locator('th').all_inner_texts().index(title)
    return table.locator(f'tbody td:nth-child({number + 1})').all_inner_texts()


def test_tables_are_sorted_by_a_click(opened, tmp_path):
    path = tmp_path / 'page.html'
    path.write_text(report_page('run', '', [Section('Part', [TABLE])]))
    page = opened(path)
    assert column(page, 'cluster') == ['0', '1', '2', '3']
    images, note = (page.get_by_role('button', name=name, exact=True) for name in ('images', 'note'))
    images.click()
    assert column(page, 'cluster') == ['1', '2', '3', '0']  # as numbers, not as text
    images.click()
    assert column(page, 'cluster') == ['0', '3', '2', '1']
    note.click()
    assert column(page, 'note') == ['a', 'b', 'c', '']
    note.click()
    assert column(page, 'note') == ['c', 'b', 'a', '']  # empty cells stay last
    assert page.locator('th[aria-sort]').all_inner_texts() == ['note']


@pytest.mark.slow
def test_a_person_reads_the_report_in_a_browser(opened, reported):
    page = opened(reported)
    assert page.title() == 'Report of a_run'
    assert page.get_by_text('Best mAP:').is_visible()
    pictures = page.locator('img').all()
    assert len(pictures) >= 8
    for image in pictures:
        image.scroll_into_view_if_needed()
        assert image.is_visible()
        assert image.evaluate('image => image.complete && image.naturalWidth > 0')
        assert image.evaluate('image => image.getBoundingClientRect().width > 100')
    for link in page.locator('nav a').all():
        link.click()
        target = page.locator(link.get_attribute('href'))
        assert target.inner_text() == link.inner_text()
        assert target.is_visible()
    sizes = [int(text.replace(',', '')) for text in column(page, 'images')]
    page.get_by_role('button', name='images', exact=True).click()
    assert [int(text) for text in column(page, 'images')] == sorted(sizes, reverse=True)
    config = page.locator('details pre')
    assert not config.is_visible()
    page.locator('summary').click()
    assert config.is_visible()
