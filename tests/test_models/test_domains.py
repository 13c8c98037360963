"""Batch normalizations of every data set, trained together and used alone."""

import pytest
import torch
from torch import nn

from glc.checkpoints import load_backbone_checkpoint, load_model_checkpoint, one_domain
from glc.engine import PseudoLabelHook
from glc.models.layers import DomainBatchNorm, Domains, GhostBatchNorm1d, separate_domains
from glc.registry import MODELS
from glc.structures import ReIDDataSample
from tests.runs import hook_of, records, tiny_config, train, write_images

PARTS = [1, 0, 0, 1, 1, 0, 1]


def samples(parts):
    fields = [
        {'sample_idx': index} | ({} if part is None else {'part': part}) for index, part in enumerate(parts)
    ]
    return [ReIDDataSample(metainfo=metainfo) for metainfo in fields]


def config(**model):
    head = dict(type='SupervisedHead', in_channels=32, num_classes=7)
    return dict(
        dict(
            type='SupervisedReID',
            backbone=dict(type='TinyBackbone', dropout=0.0),
            neck=dict(type='ReIDNeck', in_channels=32),
            head=head,
        ),
        **model,
    )


@pytest.mark.parametrize('shape', [(7, 3), (7, 3, 4, 2)])
def test_every_domain_is_normalized_with_its_own_statistics(shape):
    torch.manual_seed(0)
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3)
    nn.init.uniform_(norm.weight)
    domains = Domains(3)
    layer = DomainBatchNorm(norm, domains).double()
    x = torch.randn(shape, dtype=torch.float64)
    domains.of_images = torch.tensor(PARTS)  # none of the last domain
    y = layer(x)
    statistics = []
    for domain in (0, 1):
        rows = [index for index, part in enumerate(PARTS) if part == domain]
        values = x[rows].transpose(0, 1).flatten(1)
        mean, variance = values.mean(1), values.var(1, unbiased=False)
        statistics.append((mean / 10, 0.9 + values.var(1) / 10))
        for row in rows:
            for channel in range(3):
                expected = (x[row, channel] - mean[channel]) / (variance[channel] + 1e-5) ** 0.5
                torch.testing.assert_close(y[row, channel], expected * norm.weight[channel].detach())
    for own, (mean, variance) in zip(
        layer.norms, [*statistics, (torch.zeros(3), torch.ones(3))], strict=True
    ):
        torch.testing.assert_close(own.running_mean, mean.double())
        torch.testing.assert_close(own.running_var, variance.double())
    y.sum().backward()
    assert layer.norms[2].weight.grad.tolist() == [0, 0, 0], 'a domain that is absent has a gradient too'
    layer.eval()
    for row, part in enumerate(PARTS):
        torch.testing.assert_close(layer(x)[row], layer.norms[part](x[row : row + 1])[0])


@pytest.mark.parametrize('norm', [nn.BatchNorm1d(3), GhostBatchNorm1d(3, group_size=4)])
def test_a_vector_alone_in_its_domain_takes_the_running_statistics(norm):
    domains = Domains(2)
    layer = DomainBatchNorm(norm, domains)
    layer.norms[1].running_mean.fill_(2.0)
    layer.norms[1].running_var.fill_(4.0)
    x = torch.randn(4, 3)
    domains.of_images = torch.tensor([0, 0, 1, 0])
    torch.testing.assert_close(layer(x)[2], (x[2] - 2) / (4 + 1e-5) ** 0.5)
    assert layer.norms[1].running_mean.eq(2).all()
    domains.of_images = torch.tensor([1, 1, 1, 0])
    layer(x)
    assert layer.norms[1].running_mean.ne(2).all(), 'it learns from several'


def test_groups_of_images_are_within_a_domain():
    domains = Domains(2)
    layer = DomainBatchNorm(GhostBatchNorm1d(3, group_size=2), domains).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    domains.of_images = torch.tensor([0, 1] * 4)
    for group in layer(x)[[0, 2]], layer(x)[[4, 6]], layer(x)[[1, 3]], layer(x)[[5, 7]]:
        torch.testing.assert_close(group.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_layers_are_copies_wherever_they_are():
    assert isinstance(separate_domains(nn.BatchNorm2d(4), Domains(2)), DomainBatchNorm)
    model = MODELS.build(config(num_domains=2, bn_group_size=4))
    layers = [module for module in model.modules() if isinstance(module, DomainBatchNorm)]
    assert len(layers) == 3
    assert {layer.domains for layer in layers} == {model.domains}
    assert model.needs_samples
    assert not MODELS.build(config()).needs_samples
    bias = [value.requires_grad for name, value in model.neck.named_parameters() if name.endswith('bias')]
    assert bias == [False, False]


def test_images_of_one_data_set_are_tested_with_the_chosen_domain():
    torch.manual_seed(0)
    model = MODELS.build(config(num_domains=2, test_domain=0)).eval()
    for name, value in model.state_dict().items():
        if name.endswith('running_mean') and '.norms.1.' in name:
            value.normal_()
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        first, second = (model.extract_feat(images, samples([part] * 4)) for part in (0, 1))
        assert not torch.allclose(first, second, atol=1e-2)
        mixed = model.extract_feat(images, samples([1, 0, 0, 1]))
        torch.testing.assert_close(mixed, torch.stack([second[0], first[1], first[2], second[3]]))
        for plain in (samples([None] * 4), []):
            torch.testing.assert_close(model.extract_feat(images, plain), first)
        maps = [model.attention_maps(images, samples([part] * 4))['activation'] for part in (0, 1)]
        torch.testing.assert_close(maps[1], model.encode(images, samples([1] * 4)).mean(1))
        assert not torch.allclose(*maps)
        model.domains.test = Domains(2).test
        torch.testing.assert_close(model.extract_feat(images), second)


def test_a_network_with_common_layers_starts_all_domains_and_one_domain_becomes_such_a_network(tmp_path):
    torch.manual_seed(0)
    common, several = MODELS.build(config()), MODELS.build(config(num_domains=2))
    torch.save(common.state_dict(), tmp_path / 'common.pth')
    report = load_model_checkpoint(several, tmp_path / 'common.pth')
    assert (report.fraction, report.unexpected, report.layout) == (1, (), 'glc')
    state = several.state_dict()
    for domain in (0, 1):
        assert torch.equal(
            state[f'backbone.layers.1.norms.{domain}.weight'], common.backbone.layers[1].weight
        )
    assert load_backbone_checkpoint(several.backbone, tmp_path / 'common.pth').fraction == 1
    for name, value in state.items():
        if name.endswith('running_mean') and '.norms.1.' in name:
            value.normal_()
    model = MODELS.build(config())
    model.load_state_dict(one_domain(state, 1))
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval().extract_feat(images), several.eval().extract_feat(images, samples([1] * 4))
        )
    with pytest.raises(RuntimeError, match=r'of domains \[0, 1\], and none of 2'):
        one_domain(state, 2)


def test_wrong_domains_are_named():
    model = MODELS.build(config(num_domains=2))
    images = torch.randn(4, 3, 64, 32)
    model.assign_identities(torch.arange(4))
    with pytest.raises(ValueError, match=r'train_dataloader.dataset must be a ConcatDataset'):
        model.loss(images, samples([None] * 4))
    with pytest.raises(ValueError, match=r'data set 2 \(part, from 0\) and model.num_domains=2'):
        model.loss(images, samples([0, 0, 2, 1]))
    for wrong in (dict(num_domains=0), dict(num_domains=2, test_domain=2)):
        with pytest.raises(ValueError, match='domains need num >= 2'):
            MODELS.build(config(**wrong))


def test_supervised_losses_of_two_domains():
    torch.manual_seed(0)
    model = MODELS.build(config(num_domains=2))
    model.assign_identities(torch.tensor([0, 0, 1, 1, 2, 2, 3]))
    images = torch.randn(7, 3, 64, 32)
    losses = model.loss(images, samples(PARTS))
    sum(losses.values()).backward()
    after = torch.empty(7, 32)
    with torch.no_grad():
        for domain in (0, 1):  # each data set alone, in a model of the same weights
            rows = [index for index, part in enumerate(PARTS) if part == domain]
            alone = MODELS.build(config())
            alone.load_state_dict(one_domain(model.state_dict(), domain))
            after[rows] = alone.neck.for_losses(alone.backbone(images[rows]))[1]
        expected = -model.head.classifier(after).log_softmax(1)[range(7), model.identities].mean()
    torch.testing.assert_close(losses['loss_id'].detach(), expected)


def test_the_neck_normalizes_the_global_batch_by_domain(monkeypatch):
    torch.manual_seed(0)
    model = MODELS.build(config(num_domains=2))
    model.assign_identities(torch.tensor([0, 0, 1, 1, 2, 2, 3]))
    images = torch.randn(7, 3, 64, 32)
    alone = model.loss(images, samples(PARTS))['loss_id']
    for place in (
        'supervised.global_batch',
        'supervised.gather_batch',
        'layers.domain_batchnorm.gather_batch',
    ):
        monkeypatch.setattr(f'glc.models.{place}', lambda x: torch.cat([x, x]))  # another process, same batch
    torch.testing.assert_close(model.loss(images, samples(PARTS))['loss_id'], alone)


@pytest.mark.slow
def test_training_on_two_data_sets_without_labels(tmp_path):
    """Labels of both, batches of both, and a test on one of them."""
    roots = [write_images(tmp_path / f'set{number}', contrast=1.0 - 0.2 * number) for number in (0, 1)]
    cfg = tiny_config(roots[0], tmp_path / 'run', train_cfg__max_epochs=1, train_cfg__val_interval=1)
    dataset = dict(cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset',
        pipeline=dataset.pop('pipeline'),
        datasets=[dict(dataset, data_root=str(root)) for root in roots],
    )
    cfg.model.num_domains = 2
    runner = train(cfg)
    assert len(hook_of(runner, PseudoLabelHook).pseudo.labels) == 96
    first, second = (
        runner.model.state_dict()[f'neck.bottleneck.norms.{domain}.running_mean'] for domain in (0, 1)
    )
    assert not torch.equal(first, second)
    assert first.ne(0).all()
    assert second.ne(0).all()
    assert any('reid/mAP' in record for record in records(runner))
