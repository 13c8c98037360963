import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.labels import PseudoLabels
from glc.core.memories import CameraMemory, ClusterMemory
from tests.test_core.test_memories.test_cluster import naive_update, unit


def problem(seed: int, num_images: int = 24, num_clusters: int = 4, num_cams: int = 3, batch: int = 10):
    """A labeling and a batch of indices of clustered images with new features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, num_clusters, (num_images,), generator=generator)
    labels[:num_clusters] = torch.arange(num_clusters)
    cam_ids = 5 + torch.randint(num_cams, (num_images,), generator=generator)
    clustered = (labels >= 0).nonzero().flatten()
    indices = clustered[torch.randint(len(clustered), (batch,), generator=generator)]
    features = unit(num_images, 8, seed=seed)
    reset = dict(
        centroids=unit(num_clusters, 8, seed=seed + 1), labels=labels, features=features, cam_ids=cam_ids
    )
    return reset, unit(batch, 8, seed=seed + 2), labels[indices], indices


def naive_proxies(reset: dict) -> dict[tuple[int, int], torch.Tensor]:
    """Unit mean of the features of every cluster and camera, in float64."""
    members = {}
    for label, cam, feature in zip(
        reset['labels'], reset['cam_ids'], reset['features'].double(), strict=True
    ):
        if label >= 0:
            members.setdefault((int(label), int(cam)), []).append(feature)
    sums = {key: torch.stack(features).sum(0) for key, features in sorted(members.items())}
    return {key: total / total.norm() for key, total in sums.items()}


def naive_losses(reset, batch, indices, temperature, num_negatives):
    """The two equations, image by image, in float64."""
    proxies = naive_proxies(reset)
    intra = inter = 0.0
    for x, index in zip(batch.double(), indices.tolist(), strict=True):
        label, cam = int(reset['labels'][index]), int(reset['cam_ids'][index])
        exps = {key: float((x @ proxy / temperature).exp()) for key, proxy in proxies.items()}
        intra -= torch.tensor(exps[label, cam] / sum(e for key, e in exps.items() if key[1] == cam)).log()
        positives = [e for key, e in exps.items() if key[0] == label and key[1] != cam]
        negatives = sorted((e for key, e in exps.items() if key[0] != label), reverse=True)[:num_negatives]
        total = sum(positives) + sum(negatives)
        inter -= sum(float(torch.tensor(e / total).log()) for e in positives) / max(len(positives), 1)
    return float(intra) / len(batch), inter / len(batch)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    num_clusters=st.integers(1, 6),
    num_cams=st.integers(1, 4),
    num_negatives=st.integers(1, 9),
    weights=st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.5, 0.0), (0.3, 0.4, 0.7)]),
)
def test_loss_equals_the_loop_over_images(seed, num_clusters, num_cams, num_negatives, weights):
    reset, batch, labels, indices = problem(seed, num_clusters=num_clusters, num_cams=num_cams)
    memory = CameraMemory(0.2, 0.2, 'mean', num_negatives, *weights)
    memory.reset(PseudoLabels(**reset))
    intra, inter = naive_losses(reset, batch, indices, 0.2, num_negatives)
    plain = ClusterMemory(0.2)
    plain.reset(PseudoLabels(**reset))
    expected = weights[0] * intra + weights[1] * inter + weights[2] * plain(batch, labels).item()
    batch.requires_grad_()
    loss = memory(batch, labels, indices)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    loss.backward()
    assert batch.grad.isfinite().all()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    mode=st.sampled_from(['mean', 'hard']),
    cluster_weight=st.sampled_from([0.0, 1.0]),
)
def test_update_equals_the_loop_over_instances(seed, mode, cluster_weight):
    reset, batch, labels, indices = problem(seed)
    memory = CameraMemory(momentum=0.3, mode=mode, cluster_weight=cluster_weight)
    memory.reset(PseudoLabels(**reset))
    keys = list(naive_proxies(reset))
    assert keys == list(zip(memory.proxy_clusters.tolist(), memory.proxy_cameras.tolist(), strict=True))
    before = torch.stack(list(naive_proxies(reset).values()))
    torch.testing.assert_close(memory.proxies.double(), before, atol=1e-6, rtol=1e-5)
    own = torch.tensor([keys.index((int(reset['labels'][i]), int(reset['cam_ids'][i]))) for i in indices])
    expected = naive_update(before, batch, own, 0.3, mode)
    clusters = naive_update(memory.bank, batch, labels, 0.3, mode) if cluster_weight else memory.bank
    memory.update(batch, labels, indices)
    torch.testing.assert_close(memory.proxies, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(memory.bank, clusters, atol=1e-6, rtol=1e-5)


def test_one_camera_and_no_weights_but_the_clusters_is_the_plain_memory():
    reset, batch, labels, indices = problem(0)
    plain, camera = (
        ClusterMemory(),
        CameraMemory(0.05, mode='hard', intra_weight=0, inter_weight=0, cluster_weight=1),
    )
    plain.reset(PseudoLabels(**reset))
    camera.reset(PseudoLabels(**reset))
    assert torch.equal(plain(batch, labels), camera(batch, labels, indices))
    plain.update(batch, labels)
    camera.update(batch, labels, indices)
    assert torch.equal(plain.bank, camera.bank)


def test_the_update_comes_before_the_backward_pass_and_nothing_is_saved():
    reset, batch, labels, indices = problem(1)
    memory = CameraMemory(cluster_weight=1.0)
    memory.reset(PseudoLabels(**reset))
    batch.requires_grad_()
    expected = torch.autograd.grad(memory(batch, labels, indices), batch)[0]
    loss = memory(batch, labels, indices)
    memory.update(batch, labels, indices)
    loss.backward()
    torch.testing.assert_close(batch.grad, expected)
    assert memory.state_dict() == {}


def test_mistakes_are_explained():
    reset, batch, labels, indices = problem(2)
    with pytest.raises(RuntimeError, match='call reset'):
        CameraMemory()(batch, labels, indices)
    with pytest.raises(
        ValueError, match=r'needs features and cam_ids of all images: PseudoLabels.from_features\('
    ):
        CameraMemory().reset(PseudoLabels(reset['labels'], reset['centroids']))
    memory = CameraMemory()
    with pytest.raises(ValueError, match=r"camera of 1 of \d+ clustered images is unknown.*a group 'cam'"):
        memory.reset(
            PseudoLabels(**reset | {'cam_ids': torch.where(torch.arange(24) == 0, -1, reset['cam_ids'])})
        )
    with pytest.raises(ValueError, match='cam_ids: got 3 for 24 images'):
        memory.reset(PseudoLabels(**reset | {'cam_ids': reset['cam_ids'][:3]}))
    memory.reset(PseudoLabels(**reset | {'cam_ids': torch.where(reset['labels'] < 0, -1, reset['cam_ids'])}))
    with pytest.raises(ValueError, match='needs the indices'):
        memory(batch, labels)
    with pytest.raises(ValueError, match='num_negatives'):
        CameraMemory(num_negatives=0)
    with pytest.raises(ValueError, match='weights'):
        CameraMemory(intra_weight=0, inter_weight=0)
