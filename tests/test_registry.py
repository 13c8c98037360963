import pytest

from glc.registry import HOOKS, LABEL_CORRECTORS, METRICS, MODELS, PSEUDO_LABELERS


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
