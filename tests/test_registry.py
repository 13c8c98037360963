import re
from pathlib import Path

import pytest

from glc.core import correctors, labelers
from glc.registry import DATASETS, HOOKS, LABEL_CORRECTORS, METRICS, MODELS, PSEUDO_LABELERS


@pytest.mark.parametrize(
    ('registry', 'wrong', 'right'),
    [
        (PSEUDO_LABELERS, 'JacardDBSCAN', 'JaccardDBSCAN'),
        (LABEL_CORRECTORS, 'glc', 'GLC'),
        (MODELS, 'PassVit', 'PASSViT'),
        (METRICS, 'ReidMetrics', 'ReIDMetric'),
        (HOOKS, 'LogerHook', 'LoggerHook'),  # of mmengine
    ],
)
def test_unknown_names_suggest_the_closest(registry, wrong, right):
    with pytest.raises(KeyError, match=f"unknown {registry.name} '{wrong}': did you mean .*'{right}'"):
        registry.build(dict(type=wrong))


def test_nothing_close_lists_what_there_is():
    with pytest.raises(KeyError, match=r'registered in glc: .*JaccardDBSCAN'):
        PSEUDO_LABELERS.build(dict(type='qqqqqq'))


@pytest.mark.parametrize(
    ('kind', 'registry', 'room'),
    [('labeler', PSEUDO_LABELERS, labelers), ('corrector', LABEL_CORRECTORS, correctors)],
)
def test_labelers_and_correctors_are_registered_and_documented(kind, registry, room):
    page = (Path(__file__).parents[1] / 'docs/swap_components.md').read_text()
    (table,) = re.findall(rf'^\| {kind} \|.*\n\|---.*\n((?:\|.*\n)+)', page, re.MULTILINE)
    documented = re.findall(r'^\| `(\w+)`', table, re.MULTILINE)
    base = labelers.BaseLabeler if kind == 'labeler' else correctors.BaseCorrector
    parts = [part for part in vars(room).values() if isinstance(part, type) and issubclass(part, base)]
    abstract = {base, labelers.JaccardLabeler}
    assert {part.__name__ for part in parts if part not in abstract} == set(documented)
    for name in documented:
        assert type(registry.build(dict(type=name))).__name__ == name


def test_glc_with_the_published_numbers_has_a_name():
    built = LABEL_CORRECTORS.build(dict(type='PublishedGLC', subgraphs_per_epoch=3))
    assert built.get_params() == correctors.GLC.published(subgraphs_per_epoch=3).get_params()


def test_parts_are_built_from_what_a_command_line_names():
    assert PSEUDO_LABELERS.build_text('JaccardDBSCAN').eps == labelers.JaccardDBSCAN().eps
    assert PSEUDO_LABELERS.build_text('JaccardDBSCAN(eps=0.25, k1=7)').get_params().items() >= {
        ('eps', 0.25),
        ('k1', 7),
    }
    published = LABEL_CORRECTORS.build_text('GLC.published(subgraphs_per_epoch=3)')
    assert published.get_params() == correctors.GLC.published(subgraphs_per_epoch=3).get_params()


@pytest.mark.parametrize(
    ('registry', 'text', 'message'),
    [
        (
            PSEUDO_LABELERS,
            'JaccardDBSCAN(ep=0.5)',
            r"unexpected keyword argument 'ep'; .*JaccardDBSCAN\(key=value",
        ),
        (PSEUDO_LABELERS, 'JaccardDBSCAN(0.5)', 'must be a name, or Name'),
        (PSEUDO_LABELERS, 'JaccardDBSCAN(eps=print())', 'must be a name, or Name'),
        (PSEUDO_LABELERS, 'JaccardDBSCAN(', 'must be a name, or Name'),
        (PSEUDO_LABELERS, 'JaccardDBSCAN(**{})', 'must be a name, or Name'),
        (
            DATASETS,
            'Market1501',
            "missing a required argument: 'data_root'; arguments are given as Market1501",
        ),
    ],
)
def test_wrong_texts_are_explained(registry, text, message):
    with pytest.raises(ValueError, match=message):
        registry.build_text(text)
