"""What tests of runs share."""

import pytest

from glc.engine import FeatureExtractor


@pytest.fixture
def extractions(monkeypatch):
    """The network of every extraction, and its weights at that time."""
    networks = []
    original = FeatureExtractor.__call__

    def spied(self, model):
        networks.append((model, {name: value.clone() for name, value in model.state_dict().items()}))
        return original(self, model)

    monkeypatch.setattr(FeatureExtractor, '__call__', spied)
    return networks
