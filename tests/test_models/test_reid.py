import numpy as np
import pytest
import torch

from glc.core.labels import PseudoLabels
from glc.models import PASSViT, ReIDDataPreprocessor, SupervisedReID, UnsupervisedReID, data_preprocessor
from glc.models.reid import features_for_test
from glc.structures import ReIDDataSample
from tests.runs import PASS_BACKBONE, TinyBackbone

MEAN, STD, FILL = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0), (0.485, 0.456, 0.406)


def model() -> UnsupervisedReID:
    assert TinyBackbone  # registered by its import
    torch.manual_seed(0)
    return UnsupervisedReID(
        backbone=dict(type='TinyBackbone', dropout=0.0),
        neck=dict(type='ReIDNeck', in_channels=32),
        head=dict(type='ContrastHead', memory=dict(type='ClusterMemory')),
    )


def samples(*indices: int) -> list[ReIDDataSample]:
    return [ReIDDataSample(metainfo=dict(sample_idx=index)) for index in indices]


@pytest.mark.parametrize('channels_last', [False, True])
def test_preprocessor_equals_a_loop_over_pixels(channels_last):
    images = [torch.randint(256, (3, 6, 4), dtype=torch.uint8) for _ in range(2)]
    data_samples = [ReIDDataSample(metainfo=dict(erase_box=(1, 2, 3, 2))), ReIDDataSample()]
    preprocessor = ReIDDataPreprocessor(MEAN, STD, erase_fill=FILL, channels_last=channels_last)
    inputs = preprocessor({'inputs': images, 'data_samples': data_samples})['inputs']
    assert inputs.is_contiguous(memory_format=preprocessor.memory_format)
    for number, image in enumerate(images):
        for channel, row, column in np.ndindex(3, 6, 4):
            erased = number == 0 and 1 <= row < 4 and 2 <= column < 4
            value = (float(image[2 - channel, row, column]) - MEAN[channel]) / STD[channel]
            expected = FILL[channel] if erased else value
            assert inputs[number, channel, row, column].item() == pytest.approx(expected, abs=1e-5)


def test_erased_boxes_with_a_seed_hold_noise_of_their_own():
    images = [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 3
    boxes = [dict(erase_box=(8, 4, 40, 50), erase_seed=seed) for seed in (1, 1, 2)]
    data_samples = [ReIDDataSample(metainfo=box) for box in boxes]
    inputs = ReIDDataPreprocessor(MEAN, STD)({'inputs': images, 'data_samples': data_samples})['inputs']
    first, same, other = inputs[:, :, 8:48, 4:54]
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert abs(float(first.mean())) < 0.05
    assert abs(float(first.std()) - 1) < 0.05
    inputs[:, :, 8:48, 4:54] = inputs[:, :, :1, :1]
    assert (inputs == inputs[:, :, :1, :1]).all()


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_boxes_are_erased_at_once_as_one_by_one(memory_format):
    images = torch.randn(5, 3, 20, 10).contiguous(memory_format=memory_format)
    erased = [(0, (0, 0, 5, 3), None), (1, (4, 2, 16, 8), 7), (3, (19, 9, 1, 1), None), (4, (1, 1, 9, 3), 8)]
    fill = torch.tensor(FILL).view(3, 1, 1)
    for part in (erased, erased[::2], erased[1::2]):
        expected, found = images.clone(), images.clone()
        data_preprocessor._erase_one_by_one(expected, part, fill)
        data_preprocessor._erase_at_once(found, part, fill)
        assert torch.equal(expected, found)
        assert not torch.equal(found, images)
        assert found.is_contiguous(memory_format=memory_format)


def test_preprocessor_leaves_its_input_alone():
    images = torch.rand(2, 3, 6, 4)
    before = images.clone()
    ReIDDataPreprocessor(MEAN, STD, bgr_to_rgb=False)({'inputs': images})
    assert torch.equal(images, before)


def test_labels_are_looked_up_by_sample_index():
    net = model()
    features = torch.nn.functional.normalize(torch.randn(6, 32))
    net.assign_pseudo_labels(PseudoLabels.from_features(features, torch.tensor([0, 1, -1, 0, 1, 2])))
    inputs = torch.randn(4, 3, 64, 32)
    bank = net.head.memory.bank.clone()
    loss = net.loss(inputs, samples(5, 0, 4, 3))['loss_contrast']
    with torch.no_grad():
        logits = net.extract_feat(inputs) @ bank.T / 0.05
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 1, 0])).item(), rel=1e-5
    )
    assert not torch.equal(net.head.memory.bank, bank), 'the memory learns from the batch'
    with pytest.raises(RuntimeError, match='an outlier'):
        net.loss(inputs, samples(0, 1, 2, 3))


@pytest.mark.slow
def test_the_backbone_is_compiled_in_one_graph():
    net, graphs = model(), []
    net.backbone = PASSViT(PASS_BACKBONE['arch'], (32, 16), 8, 8).eval()
    expected = net.encode(torch.ones(2, 3, 32, 16))
    net.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    torch.testing.assert_close(net.encode(torch.ones(2, 3, 32, 16)), expected)
    assert len(graphs) == 1
    attentions = [node for node in graphs[0].graph.nodes if 'scaled_dot_product' in str(node.target)]
    assert len(attentions) == len(net.backbone.blocks), 'one graph of all blocks, not the same one for each'


def test_loss_is_of_unit_features():
    """A neck whose features are not of unit length changes nothing in training."""
    net, inputs = model(), torch.randn(4, 3, 64, 32)
    labels = PseudoLabels.from_features(torch.eye(6, 32), torch.arange(6))
    losses = []
    for scale in (1, 3):
        net.assign_pseudo_labels(labels)
        neck = net.neck.forward
        net.neck.forward = lambda x, neck=neck, scale=scale: scale * neck(x)
        losses.append(net.loss(inputs, samples(5, 0, 4, 3))['loss_contrast'])
    torch.testing.assert_close(*losses)


def test_loss_needs_labels_and_modes_are_checked():
    with pytest.raises(RuntimeError, match='is PseudoLabelHook among the hooks'):
        model().loss(torch.randn(2, 3, 64, 32), samples(0, 1))
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict'"):
        model()(torch.randn(2, 3, 64, 32), mode='train')


def test_predictions_carry_unit_features():
    net = model().eval()
    inputs = torch.randn(3, 3, 64, 32)
    predicted = net(inputs, samples(0, 1, 2), mode='predict')
    stacked = torch.stack([sample.feature for sample in predicted])
    torch.testing.assert_close(stacked, net(inputs))
    torch.testing.assert_close(stacked.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ('kind', 'head'),
    [
        (UnsupervisedReID, dict(type='ContrastHead', memory=dict(type='ClusterMemory'))),
        (SupervisedReID, dict(type='SupervisedHead', in_channels=32, num_classes=4)),
    ],
)
def test_flip_test_is_the_mean_with_the_mirrored_image(kind, head):
    torch.manual_seed(0)
    parts = dict(
        backbone=dict(type='TinyBackbone'),
        neck=dict(type='ReIDNeck', in_channels=32),
        head=head,
        flip_test=True,
    )
    net = kind(**parts).eval()
    inputs = torch.randn(3, 3, 64, 32)
    mirrored = torch.from_numpy(inputs.numpy()[:, :, :, ::-1].copy())

    def predict():
        return torch.stack([sample.feature for sample in net(inputs, samples(0, 1, 2), mode='predict')])

    with torch.no_grad():
        alone = net.extract_feat(inputs)
        mean = (alone + net.extract_feat(mirrored)) / 2
        torch.testing.assert_close(predict(), mean / mean.norm(dim=1, keepdim=True))
        assert not torch.allclose(predict(), alone, atol=1e-3)
        net.flip_test = False
        assert torch.equal(predict(), alone)
    del parts['flip_test']
    assert not kind(**parts).flip_test


def test_flip_test_keeps_the_scale_of_features_without_unit_norm():
    class Network:
        flip_test = True

        def extract_feat(self, inputs):
            return inputs[:, 0, 0]

    inputs = torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2)  # mirrored: (4, 3)
    torch.testing.assert_close(features_for_test(Network(), inputs), torch.full((1, 2), 5 / 2**0.5))
