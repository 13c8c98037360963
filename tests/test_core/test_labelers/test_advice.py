"""What a labeler proposes is something that it has."""

import re

import pytest

import glc.core.labelers as labelers
from glc.core.labelers import BaseLabeler, JaccardLabeler

KINDS = [
    kind
    for kind in (getattr(labelers, name) for name in labelers.__all__)
    if isinstance(kind, type) and issubclass(kind, BaseLabeler) and kind not in (BaseLabeler, JaccardLabeler)
]
ADVICE = re.compile(r'(?:raise|lower|set|or|and) (?:or )?([a-z_]+)')


def made(kind):
    """A labeler with its defaults; one around another takes DBSCAN."""
    if kind.__name__ == 'SelfPacedReliability':
        return kind(labelers.JaccardDBSCAN())
    return kind(num_clusters=5) if kind.__name__ == 'KMeansLabeler' else kind()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('num_clusters', [0, 1])
def test_advice_names_parameters_of_the_labeler(kind, num_clusters):
    labeler = made(kind)
    advice = labeler.advice(num_clusters)
    known = {name.rpartition('__')[2] for name in labeler.get_params()}
    named = set(ADVICE.findall(advice)) - {'raise', 'lower'}
    assert advice
    assert named <= known or 'a labeler' in advice, (advice, named - known)
    assert isinstance(labeler, JaccardLabeler) <= bool(named)
