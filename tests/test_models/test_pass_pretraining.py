"""The loss of PASS pre-training, one crop at a time; the teacher; the projection head."""

import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

from glc.models import PASSPretraining, ProjectionHead


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = dict(
        type='PASSViT',
        arch=dict(dim=24, depth=2, heads=2),
        img_size=(32, 16),
        patch_size=8,
        stride=8,
        drop_path_rate=0.5,
    )
    head = dict(type='ProjectionHead', hidden_channels=16, bottleneck_channels=8, num_outputs=12)
    return PASSPretraining(backbone, head)


@pytest.fixture
def crops():
    torch.manual_seed(1)
    return {'global': torch.randn(2, 3, 3, 32, 16), 'local': torch.randn(6, 3, 3, 16, 8)}


def test_loss_is_that_of_single_crops(model, crops):
    model.eval()  # no stochastic depth
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.distillation.centre.copy_(0.1 * torch.randn(4, 12))
    centre = model.distillation.centre.clone()

    def output(network, token, image):
        tokens = network['backbone'].forward_crops(image[None])
        return network['heads'][token](tokens[:, token])[0]

    def local_output(token, part, image):
        stack = torch.zeros(3, 1, *image.shape)
        stack[part - 1, 0] = image
        which = 0 if token == 0 else 1
        return model.student['heads'][token](
            model.student['backbone'].forward_parts(stack)[part - 1, :, which]
        )[0]

    terms, teacher_outputs = [], torch.zeros(4, 2, 3, 12)
    for token in range(4):
        for t in range(2):
            for image in range(3):
                q = output(model.teacher, token, crops['global'][t, image])
                teacher_outputs[token, t, image] = q
                q = ((q - centre[token]) / 0.04).softmax(0)
                views = [output(model.student, token, crops['global'][1 - t, image])]
                for number, local in enumerate(crops['local'][:, image]):
                    part = 1 + number // 2  # two crops of each part
                    if token in (0, part):
                        views.append(local_output(token, part, local))
                terms += [-(q * (view / 0.1).log_softmax(0)).sum() for view in views]
    assert len(terms) == 3 * (2 * 7 + 3 * 2 * 3)

    losses = model(crops, mode='loss')
    torch.testing.assert_close(losses['loss_distillation'], torch.stack(terms).mean())
    expected = 0.9 * centre + 0.1 * teacher_outputs.mean((1, 2)).detach()
    torch.testing.assert_close(model.distillation.centre, expected)
    losses['loss_distillation'].backward()
    assert all(parameter.grad is not None for parameter in model.student.parameters())
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


def test_teacher_starts_as_the_student_without_stochastic_depth(model, crops):
    with torch.no_grad():
        model.student['backbone'].norm.bias.fill_(3.0)
    model.init_weights()
    for name, value in model.student.state_dict().items():
        assert torch.equal(model.teacher.state_dict()[name], value)
    model.train()
    first, again = (model.teacher['backbone'](crops['global'][0]) for _ in range(2))
    torch.testing.assert_close(first, again)
    first, again = (model.student['backbone'](crops['global'][0]) for _ in range(2))
    assert not torch.allclose(first, again)


def test_student_may_start_from_a_checkpoint(model, tmp_path):
    with torch.no_grad():
        model.teacher['backbone'].norm.bias.fill_(3.0)
    torch.save(model.teacher['backbone'].state_dict(), tmp_path / 'a.pth')
    other = PASSPretraining(
        dict(
            type='PASSViT',
            arch=dict(dim=24, depth=2, heads=2),
            img_size=(32, 16),
            patch_size=8,
            stride=8,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth')),
        ),
        dict(type='ProjectionHead', hidden_channels=16, bottleneck_channels=8, num_outputs=12),
    )
    other.init_weights()
    for network in (other.student, other.teacher):
        assert (network['backbone'].norm.bias == 3).all()


def test_teacher_follows_and_gives_the_features(model, crops):
    old = {name: value.clone() for name, value in model.teacher.named_parameters()}
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.mul_(2.0)
    model.update_teacher(0.75)
    for name, value in model.teacher.named_parameters():
        torch.testing.assert_close(value, 1.25 * old[name])
    model.eval()
    images = crops['global'][0]
    tokens = model.teacher['backbone'](images)
    features = torch.cat([tokens[:, 0], (tokens[:, 1] + tokens[:, 2] + tokens[:, 3]) / 3], 1)
    torch.testing.assert_close(model(images), features / features.norm(dim=1, keepdim=True))


def test_without_part_tokens_the_class_token_learns_from_all_crops():
    torch.manual_seed(0)
    backbone = dict(
        type='PASSViT',
        arch=dict(dim=8, depth=1, heads=1),
        img_size=(32, 16),
        patch_size=8,
        stride=8,
        num_part_tokens=0,
    )
    model = PASSPretraining(backbone, dict(type='ProjectionHead', hidden_channels=4, num_outputs=5)).eval()
    crops = {'global': torch.randn(2, 3, 3, 32, 16), 'local': torch.randn(4, 3, 3, 16, 8)}

    def output(network, image):
        return network['heads'][0](network['backbone'].forward_crops(image[None])[:, 0])[0]

    terms = []
    for t in range(2):
        for image in range(3):
            q = (output(model.teacher, crops['global'][t, image]) / 0.04).softmax(0)
            for view in (crops['global'][1 - t, image], *crops['local'][:, image]):
                terms.append(-(q * (output(model.student, view) / 0.1).log_softmax(0)).sum())
    torch.testing.assert_close(model(crops, mode='loss')['loss_distillation'], torch.stack(terms).mean())
    cls = model.teacher['backbone'](crops['global'][0])[:, 0]
    torch.testing.assert_close(model(crops['global'][0]), cls / cls.norm(dim=1, keepdim=True))


def test_head_with_batch_norm_and_learned_gains():
    torch.manual_seed(0)
    head = ProjectionHead(6, 50, 16, num_outputs=700, batch_norm=True, learn_gain=True)
    assert [type(module).__name__ for module in head.mlp] == 2 * ['Linear', 'BatchNorm1d', 'GELU'] + [
        'Linear'
    ]
    with torch.no_grad():
        head.last_gain.uniform_(1, 2)
    hidden = head.mlp(tokens := torch.randn(3, 6))
    cosines = torch.cosine_similarity(hidden[:, None], head.last_weight[None], dim=2)
    torch.testing.assert_close(head.eval().last_gain * cosines, head.train()(tokens))
    # The rows start as those of torch's linear layer.
    assert head.last_weight.abs().max() <= 0.25
    assert head.last_weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.03)


def test_last_layer_is_a_weight_normed_one_of_gain_1():
    head = ProjectionHead(6, hidden_channels=5, bottleneck_channels=4, num_outputs=7)
    tokens = torch.randn(3, 6)
    layer = weight_norm(torch.nn.Linear(4, 7, bias=False))
    layer.parametrizations.weight.original0.data.fill_(1.0)
    layer.parametrizations.weight.original1.data.copy_(head.last_weight.data)
    hidden = head.mlp(tokens)
    hidden = hidden / hidden.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(tokens), layer(hidden))
