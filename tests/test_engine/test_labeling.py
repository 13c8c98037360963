"""The engine of one labeling, without a network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from glc import JaccardDBSCAN
from glc.engine.labeling import LabelEngine
from tests.test_core.oracles import clustered_features


class Extractor:
    """Gives the same features whatever the network."""

    def __init__(self, features):
        self.features = features
        self.dataset = SimpleNamespace(cam_ids=np.full(len(features), -1))

    def __call__(self, network):
        return self.features


@pytest.mark.parametrize('unit', [True, False])
def test_centroids_are_means_of_what_the_labeler_sees(unit):
    norms = torch.linspace(0.5, 1.5, 80)[:, None]
    features = nn.functional.normalize(torch.from_numpy(clustered_features(80, 4, seed=1))) * norms
    engine = LabelEngine(JaccardDBSCAN(k1=10, k2=3, unit_features=unit))
    labeling = engine(Extractor(features), nn.Identity(), correct=False)
    pseudo = labeling.pseudo
    assert pseudo.num_clusters > 1
    for cluster, centroid in enumerate(pseudo.centroids):
        members = features[pseudo.labels == cluster]
        mean = (nn.functional.normalize(members) if unit else members).double().mean(0)
        torch.testing.assert_close(centroid, nn.functional.normalize(mean, dim=0).float())
        cosines = (nn.functional.normalize(members) @ centroid.to(members)).float()
        torch.testing.assert_close(labeling.certainty[pseudo.labels == cluster], cosines)
