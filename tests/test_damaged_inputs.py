"""Damaged inputs end in errors that name them; the whole corpus is that of tools/dev/damaged_inputs.py."""

import os
import re
import runpy
import signal
import string

import mmcv
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glc.apis import Gallery, ReIDFeatures, list_images, load_config, prepare_config, video_crops
from glc.apis.config_checks import ConfigError
from glc.apis.options import parse_value
from glc.checkpoints import (
    load_checkpoint_file,
    load_model_checkpoint,
    unwrap_state_dict,
    write_checkpoint_file,
)
from glc.datasets import CUHK03, MSMT17, DukeMTMCreID, Market1501, PersonX, VeRi776
from glc.datasets.image_folder import compiled_pattern, identities_and_cameras
from glc.datasets.luperson import read_names
from glc.datasets.msmt17 import _NAMES
from glc.datasets.own_images import read_named_images
from glc.datasets.transforms import LoadReIDImage
from glc.engine.clusters import read_clusters
from tests.runs import ROOT

few = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope='module')
def corpus():
    return runpy.run_path(str(ROOT / 'tools/dev/damaged_inputs.py'))


def test_a_protocol_that_crashes_its_reader_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'images_detected').mkdir()
    (tmp_path / 'cuhk03_new_protocol_config_detected.mat').touch()
    monkeypatch.setattr('scipy.io.whosmat', lambda path: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(
        ValueError, match=r"_detected.mat' is not the file of the new protocol \(BrokenProcessPool"
    ):
        CUHK03(str(tmp_path))


@pytest.mark.filterwarnings('ignore')
def test_a_sample_of_the_corpus_has_no_bad_end(corpus, tmp_path):
    found = corpus['push'](tmp_path, number=40, seed=1)
    assert {kind: [end for end in ends if end[0] == 'BAD'] for kind, ends in found.items()} == {
        kind: [] for kind in corpus['KINDS']
    }
    assert {end[0] for ends in found.values() for end in ends} == {'error', 'skipped', 'read'}


def test_bad_ends_are_told(corpus):
    def told(door, wrong=True):
        return corpus['outcome'](corpus['Input']('x', door, ('x.jpg',), wrong))[0]

    def raises(error):
        raise error

    assert told(lambda: raises(ValueError('x.jpg is damaged'))) == 'error'
    assert told(lambda: 1) == 'skipped'
    assert told(lambda: None, wrong=False) == 'read'
    assert told(lambda: None) == 'BAD'
    assert told(lambda: raises(ValueError('it is damaged'))) == 'BAD'
    assert told(lambda: raises(KeyError('x.jpg'))) == 'BAD'


# ---------------------------------------------------------------- checkpoints


def test_a_changed_part_of_a_checkpoint_is_seen(tmp_path):
    torch.save({'weight': torch.ones(1000)}, tmp_path / 'x.pth')
    content = bytearray((tmp_path / 'x.pth').read_bytes())
    content[content.index(np.ones(9, np.float32).tobytes()) + 400] ^= 1
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(
        RuntimeError, match=r"x.pth' cannot be read safely: the checksum of .*data/0 is another"
    ):
        load_checkpoint_file(tmp_path / 'x.pth')


def test_safetensors_are_written_and_read(tmp_path):
    model = torch.nn.ModuleDict({'neck': torch.nn.Linear(3, 2), 'head': torch.nn.Linear(2, 2)})
    state = model.state_dict()
    state['neck.weight'] = state['neck.weight'].T.contiguous().T
    write_checkpoint_file(
        {'state_dict': {**state, 'head.copy': state['head.weight']}, 'epoch': 3}, tmp_path / 'x.safetensors'
    )
    found = load_checkpoint_file(tmp_path / 'x.safetensors')
    assert found.keys() == {*state, 'head.copy'}
    assert all(torch.equal(found[name], value) for name, value in state.items())
    write_checkpoint_file(state, tmp_path / 'y.safetensors')
    with torch.no_grad():
        model['neck'].bias.zero_()
    load_model_checkpoint(model, tmp_path / 'y.safetensors')
    assert torch.equal(model['neck'].bias, found['neck.bias'])


def test_damaged_safetensors_are_refused(tmp_path):
    write_checkpoint_file({'weight': torch.ones(9)}, tmp_path / 'x.safetensors')
    (tmp_path / 'x.safetensors').write_bytes((tmp_path / 'x.safetensors').read_bytes()[:-4])
    with pytest.raises(RuntimeError, match=r"x.safetensors' cannot be read safely: "):
        load_checkpoint_file(tmp_path / 'x.safetensors')


@pytest.mark.parametrize(
    ('kind', 'tensor'),
    {
        'of layout torch.sparse_coo': torch.zeros(3, 4, 4).to_sparse(),
        'quantized': torch.quantize_per_tensor(torch.zeros(3, 4, 4), 0.1, 0, torch.quint8),
        'without values': torch.zeros(3, 4, 4, device='meta'),
        'nested': torch.nested.nested_tensor([torch.zeros(3, 4, 4)]),
    }.items(),
)
def test_tensors_without_plain_numbers_are_refused(kind, tensor):
    with pytest.raises(
        ValueError, match=f'^images must be a dense tensor of numbers, got one that is {kind}'
    ):
        list(list_images(tensor))
    with pytest.raises(ValueError, match=r'^features must be a dense tensor'):
        ReIDFeatures(tensor, ['a'])


def test_tensors_of_few_bits_are_taken():
    assert ReIDFeatures(torch.ones(1, 2, dtype=torch.bfloat16), ['a']).features.tolist() == [[1, 1]]
    (image,) = list_images(torch.ones(3, 4, 4, dtype=torch.float8_e4m3fn))
    assert (image.info['img'] == 255).all()


def test_a_video_that_ends_too_early_names_the_file_of_the_boxes(tmp_path):
    (tmp_path / 'boxes.csv').write_text('1,7,0,0,2,4\n3,7,0,0,2,4\n')
    with pytest.raises(ValueError, match=r"after frame 2, but there are boxes of frame 3 in '.*boxes.csv'"):
        list(video_crops([np.zeros((9, 9, 3), np.uint8)] * 2, tmp_path / 'boxes.csv'))


# ---------------------------------------------------------------- parsers


NAMES = st.text(max_size=40) | st.text('0123456789_cs-fF.jpg', max_size=30)


@few
@given(NAMES)
@example('0002_c1s1_000451_03.jpg')
@example('9' * 30 + '_c1_000451_03.jpg')
@example('٣٣٣٣_c1s1_000451_03.jpg')
def test_names_of_data_sets_are_numbers_or_errors_that_name_them(name):
    for parse in (Market1501.parse, DukeMTMCreID.parse, PersonX.parse, VeRi776.parse, _NAMES.parse):
        try:
            pid, camera = parse(name)
        except ValueError as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert -1 <= pid < 2**63 > camera >= 0
            assert str(camera + 1) in ''.join(
                str(int(digit)) if digit.isdecimal() else digit for digit in name
            )


@few
@given(st.text(max_size=40) | st.from_regex(r'\d{1,4}/\d{1,4}_\d{3}_\d{2}_x\.jpg -?\d{1,4}', fullmatch=True))
def test_lines_of_msmt17_are_read_or_named(line):
    try:
        path, pid, camera = MSMT17.parse(line)
    except ValueError as error:
        assert line in str(error)  # noqa: PT017
    else:
        assert 0 <= pid < 2**63 > camera >= 0
        assert line.startswith(path) or path in line


@few
@given(st.text(max_size=30) | st.text('()?P<pid>cam[^/]+\\d', max_size=30))
def test_patterns_are_expressions_with_known_groups_or_errors(pattern):
    try:
        regex = compiled_pattern(pattern)
    except ValueError as error:
        assert repr(pattern) in str(error)  # noqa: PT017
        return
    assert set(regex.groupindex) <= {'pid', 'cam'}


@few
@given(st.lists(st.text(string.printable, min_size=1, max_size=10), min_size=1, max_size=5))
def test_groups_of_names_are_numbered_alike(names):
    paths = [f'{name}\t/x.jpg' for name in names]
    pids, cams = identities_and_cameras(paths, r'(?s)^(?P<cam>.*)\t/')
    assert (pids == -1).all()
    for one, first in zip(names, cams, strict=True):
        for other, second in zip(names, cams, strict=True):
            assert (one == other) == (first == second)


@few
@given(
    st.binary(max_size=60)
    | st.lists(st.text('ab\n', max_size=4)).map(lambda names: '\n'.join(names).encode())
)
@example(b'\x80\x04cposix\nsystem\n.')
@example(b'\x80')
def test_lists_of_names_are_names_or_errors_that_name_the_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('names') / 'chosen.txt'
    path.write_bytes(content)
    try:
        names = read_names(str(path))
    except ValueError as error:
        assert 'chosen.txt' in str(error)  # noqa: PT017
    else:
        assert all(isinstance(name, str) for name in names)


@few
@given(st.lists(st.lists(st.text('ab,"\r\n\0', max_size=5), max_size=4), max_size=4))
def test_tables_are_read_or_named(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp('table')
    (folder / 'a').touch()
    (folder / 'x.csv').write_text('\n'.join(['path,pid,cam', *(','.join(row) for row in rows)]), newline='')
    try:
        images = read_named_images(str(folder), table=str(folder / 'x.csv'))
    except (FileNotFoundError, ValueError) as error:
        assert 'x.csv' in str(error)  # noqa: PT017
    else:
        assert {image.path for image in images} <= {str(folder / 'a')}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('ab ./:~@-', min_size=1, max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('abc_', min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@few
@given(VALUES.filter(lambda value: not isinstance(value, str)))
def test_values_of_options_are_read_as_they_are_written(value):
    assert parse_value(repr(value)) == value


@few
@given(st.text(max_size=30) | st.text('[](){}\'",:=.0123eE-+ aNone', max_size=30))
def test_any_text_is_a_value_of_an_option(text):
    value = parse_value(text)
    assert value == text or not isinstance(value, str) or text.strip(' r')[:1] in '\'"'


def test_protocols_of_endless_shapes_are_refused(corpus, tmp_path):
    from scipy.io import savemat

    path = tmp_path / 'cuhk03_new_protocol_config_detected.mat'
    savemat(path, {name: np.ones((1, 1)) for name in ('labels', 'camId', 'train_idx', 'filelist')})
    content = path.read_bytes()
    shape = np.array([1, 1], np.int32).tobytes()
    path.write_bytes(content.replace(shape, np.array([2**30, 1], np.int32).tobytes(), 1))
    with pytest.raises(ValueError, match=r'config_detected.mat. is not the file of the new protocol'):
        CUHK03(str(tmp_path), check='off')


# ---------------------------------------------------------------- what the corpus has found


@pytest.mark.filterwarnings('ignore:Metadata Warning')
def test_broken_streams_are_unreadable_even_where_opencv_decodes_them(corpus):
    random, found = np.random.default_rng(0), 0
    for kind in ('jpg', 'packed.tiff') * 30:
        way = corpus['doubled'] if kind == 'jpg' else corpus['flipped']
        content = way(random, corpus['encoded'](corpus['drawn'](random), kind))
        if corpus['strictly_decoded'](content) is None:
            found += mmcv.imfrombytes(content) is not None
            with pytest.raises((OSError, ValueError)):
                LoadReIDImage()._decoded(content)
    assert found > 5


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('x = 1\ny = undefined\n', "NameError in line 2 of '.*x.py': name 'undefined' is not defined"),
        ('model = dict(\n', "x.py' cannot be read: SyntaxError.*never closed"),
        ('\0', "x.py' cannot be read"),
    ],
)
def test_configs_that_cannot_be_read_are_named(tmp_path, text, message):
    (tmp_path / 'x.py').write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / 'x.py')


@pytest.mark.parametrize(
    'row', ['1,7,0,0,20,nan', '1,7,0,0,20', '1,7,0,0,20,é', f'1,7,0,0,20,{"9" * 200_000}']
)
def test_the_file_of_a_wrong_box_is_named(tmp_path, row):
    (tmp_path / 'boxes.csv').write_text(f'1,7,0,0,20,40\n{row}\n')
    with pytest.raises(ValueError, match=r"boxes.csv': "):
        list(video_crops([np.zeros((90, 60, 3), np.uint8)], tmp_path / 'boxes.csv'))


@pytest.mark.parametrize('cluster', ['9' * 30, 'x', ''])
def test_the_file_of_a_wrong_cluster_is_named(tmp_path, cluster):
    (tmp_path / 'clusters.csv').write_text(f'file,cluster\na.jpg,{cluster}\n')
    with pytest.raises(ValueError, match=r"clusters.csv' cannot be read"):
        read_clusters(tmp_path / 'clusters.csv')


@pytest.mark.parametrize('content', [b'', b'\x93NUMPY\x01\x00\x03\x00{(\n'])
def test_a_gallery_without_its_features_is_named(tmp_path, content):
    Gallery.of(ReIDFeatures(np.eye(3), list('abc'))).save(tmp_path)
    next(tmp_path.glob('*.npy')).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        Gallery.load(tmp_path)


@pytest.mark.parametrize(
    'features', [np.ones((1, 3), complex), np.array([['1', '2']]), torch.eye(1).to_sparse()]
)
def test_features_are_real_numbers(features):
    with pytest.raises(ValueError, match='features must be'):
        ReIDFeatures(features, ['a'])


@pytest.mark.parametrize('change', [lambda value: value.to_sparse(), lambda value: value.to(torch.complex64)])
def test_odd_weights_are_refused(change):
    with pytest.raises(RuntimeError, match='sparse or complex weights, such as weight'):
        unwrap_state_dict({'weight': change(torch.ones(2, 2))})


def test_a_size_of_images_that_is_no_size_is_named():
    with pytest.raises(ConfigError, match=r'test_dataloader.dataset.pipeline.1.scale=\[\[\]\] is no size'):
        prepare_config(load_config('vit_s_market_usl', {'test_dataloader.dataset.pipeline.1.scale': [[]]}))
