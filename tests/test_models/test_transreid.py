"""Side information and jigsaw patches of TransReID, and its published weights."""

import pytest
import torch
import torch.nn.functional as F

from glc.checkpoints import load_model_checkpoint
from glc.models import SupervisedReID
from glc.models.backbones import JPMViT, PASSViT
from glc.registry import MODELS
from glc.structures import ReIDDataSample
from tests.published import ARCH, DEPTH, DIM, HEADS, PersonViT, TransReID, randomize
from tests.runs import TinyBackbone, records, source_config, train, write_images

SIZES = [(64, 32), (48, 48), (80, 48)]  # 8 patches; 9, which are completed; 15, of which 3 are left out
CAMERAS = [3, 0, 5]


def samples(cameras, **more):
    fields = [dict(sample_idx=index, cam_id=camera, **more) for index, camera in enumerate(cameras)]
    return [ReIDDataSample(metainfo=metainfo) for metainfo in fields]


def config(size=(64, 32), **backbone):
    return dict(
        type='SupervisedReID',
        backbone=dict(
            dict(type='JPMViT', arch=ARCH, img_size=size, side_information=dict(cam_id=6)), **backbone
        ),
        neck=dict(type='ReIDNeck', in_channels=DIM, num_tokens=5, fusion='branches'),
        head=dict(type='BranchHead', in_channels=DIM, num_classes=3),
    )


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('size', SIZES)
def test_published_transreid_loads_and_gives_its_features(tmp_path, size, prefix):
    source = randomize(TransReID(size=size))
    path = tmp_path / 'transformer_120.pth'
    torch.save({prefix + key: value for key, value in source.state_dict().items()}, path)
    model = MODELS.build(config(size))
    report = load_model_checkpoint(model, path)
    assert (report.layout, report.unexpected) == ('reid', ())
    assert {name.split('.')[0] for name in report.missing} == {'head'}
    assert report.sources['backbone.b2.0.attn.qkv.weight'] == f'{prefix}b2.0.attn.qkv.weight'
    assert report.sources['backbone.sie_embed'] == f'{prefix}base.sie_embed'
    assert report.sources['neck.bottleneck_pt4.weight'] == f'{prefix}bottleneck_4.weight'
    model, source = model.double().eval(), source.double()
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        tokens = source(images, CAMERAS)
        torch.testing.assert_close(model.backbone(images, samples(CAMERAS)), tokens, atol=1e-9, rtol=1e-9)
        feature = torch.cat([tokens[:, 0], *(tokens[:, part] / 4 for part in (1, 2, 3, 4))], 1)
        predicted = model(images, samples(CAMERAS), mode='predict')
        torch.testing.assert_close(
            torch.stack([sample.feature for sample in predicted]), F.normalize(feature).float()
        )


def test_both_branches_start_as_the_last_block_of_a_plain_vit(tmp_path):
    source = randomize(PersonViT(0))
    path = tmp_path / 'vit.pth'
    torch.save({**source.state_dict(), 'head.weight': torch.zeros(9, DIM)}, path)
    model = JPMViT(ARCH, img_size=(64, 32), init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    assert (model.load_report.missing, model.load_report.unexpected) == ((), ())
    state, last = model.state_dict(), f'blocks.{DEPTH - 1}.'
    for key, value in source.state_dict().items():
        if key.startswith((last, 'norm.')):
            name = key.replace(last, '0.').replace('norm.', '1.', key.startswith('norm.'))
            assert torch.equal(state[f'b1.{name}'], value)
            assert torch.equal(state[f'b2.{name}'], value)
    assert not [key for key in state if key.startswith((last, 'norm.'))]
    # without rearranging, branches are stripes, and the first token is that of the plain ViT
    plain = PASSViT(ARCH, img_size=(64, 32), num_part_tokens=0)
    plain.load_state_dict(plain.adapt_state_dict(source.state_dict()))
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images)[:, :1], plain.eval()(images))


def test_stripes_without_rearranging():
    model = randomize(JPMViT(ARCH, img_size=(64, 32), rearrange=False)).double()
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        x = torch.cat(
            [
                (model.cls_token + model.cls_pos).expand(2, -1, -1),
                model.patch_embed(images) + model.pos_embed,
            ],
            1,
        )
        x = model.blocks(x)
        for part, tokens in enumerate(model(images).unbind(1)):
            rows = slice(None) if part == 0 else [0, 2 * part - 1, 2 * part]
            branch = model.b1 if part == 0 else model.b2
            torch.testing.assert_close(tokens, branch(x[:, rows])[:, 0])


def test_an_embedding_for_each_pair_of_camera_and_view():
    kwargs = dict(img_size=(64, 32), side_information=dict(cam_id=3, view_id=2), side_weight=1.5)
    model = randomize(PASSViT(ARCH, **kwargs)).double()
    images = torch.randn(1, 3, 64, 32, dtype=torch.float64).expand(2, -1, -1, -1)
    plain = PASSViT(ARCH, img_size=(64, 32)).double().eval()
    with torch.no_grad():
        found = model(images, samples([2, 1], view_id=1))
        for features, row in zip(found, (5, 3), strict=True):  # 2 * 2 + 1 and 1 * 2 + 1
            state = {key: value.clone() for key, value in model.state_dict().items()}
            embedding = 1.5 * state.pop('sie_embed')[row]
            for name in ('cls_pos', 'part1_pos', 'part2_pos', 'part3_pos', 'pos_embed'):
                state[name] += embedding
            plain.load_state_dict(state)
            torch.testing.assert_close(features, plain(images[:1])[0])


def test_attention_of_the_class_token_in_the_global_branch():
    model = MODELS.build(config())
    backbone = randomize(model.backbone).double()
    images = torch.randn(3, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        cls = (backbone.cls_token + backbone.cls_pos).expand(3, -1, -1)
        x = torch.cat([cls, backbone.patch_embed(images) + backbone.pos_embed], 1)
        x = backbone.blocks(x + 3 * backbone.sie_embed[CAMERAS])
        last = backbone.b1[0]
        query, key, _ = last.attn.qkv(last.norm1(x)).chunk(3, 2)
        heads = [slice(start, start + DIM // HEADS) for start in range(0, DIM, DIM // HEADS)]
        scores = [(query[:, :1, head] * key[:, :, head]).sum(2) / (DIM // HEADS) ** 0.5 for head in heads]
        expected = sum(score.softmax(1) for score in scores)[:, 1:] / HEADS
        maps = model.attention_maps(images, samples(CAMERAS))
        torch.testing.assert_close(maps['cls'], expected.reshape(3, 4, 2))
        assert list(maps) == ['cls']
        with pytest.raises(ValueError, match=r'cam_id=-1 of an image'):
            model.attention_maps(images, [ReIDDataSample()] * 3)


@pytest.mark.parametrize('camera', [-1, 6])
def test_cameras_without_an_embedding_are_refused(camera):
    model = MODELS.build(config()).eval()
    unknown = samples([0, camera], img_path='folder/person.jpg')
    with pytest.raises(ValueError, match=rf'cam_id={camera} of folder/person.jpg.*cam_id 0 to 5'):
        model(torch.zeros(2, 3, 64, 32), unknown, mode='predict')
    with pytest.raises(ValueError, match=r'needs the data samples of 2 images, got 0'):
        model.extract_feat(torch.zeros(2, 3, 64, 32))
    with pytest.raises(ValueError, match=r'cam_id=-1 of an image'):
        model(torch.zeros(1, 3, 64, 32), [ReIDDataSample()], mode='predict')


def test_losses_reach_all_branches_and_the_cameras_of_the_batch():
    torch.manual_seed(0)
    model = MODELS.build(config())
    assert isinstance(model, SupervisedReID)
    model.assign_identities(torch.tensor([0, 0, 2]))
    losses = model.loss(torch.randn(3, 3, 64, 32), samples(CAMERAS))
    sum(losses.values()).backward()
    assert not [
        name for name, value in model.named_parameters() if value.requires_grad and value.grad is None
    ]
    moved = model.backbone.sie_embed.grad.abs().amax((1, 2)) > 0
    assert moved.tolist() == [True, False, False, True, False, True]


def test_flip_test_keeps_the_cameras():
    model = MODELS.build({**config(), 'flip_test': True}).eval()
    images = torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        both = sum(model.extract_feat(x, samples(CAMERAS)) for x in (images, images.flip(3)))
        predicted = model(images, samples(CAMERAS), mode='predict')
        torch.testing.assert_close(torch.stack([sample.feature for sample in predicted]), F.normalize(both))


def test_dropout_of_tokens_and_attention():
    assert TinyBackbone.needs_samples is False
    images = torch.randn(2, 3, 64, 32)
    for option in ('drop_rate', 'attn_drop_rate'):
        torch.manual_seed(0)
        model = PASSViT(ARCH, img_size=(64, 32), **{option: 0.5})
        assert not torch.equal(model(images), model(images))
        assert torch.equal(model.eval()(images), model(images))
    places = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert set(places) == {0.0, 0.5}
    dropped = PASSViT(ARCH, img_size=(64, 32), drop_rate=0.5)
    assert (dropped.pos_drop.p, dropped.blocks[0].attn.proj_drop.p, dropped.blocks[0].mlp.drop2.p) == (
        0.5,
    ) * 3


def test_gem_pool_adds_the_pooled_patches():
    model = randomize(PASSViT(ARCH, img_size=(64, 32), num_part_tokens=0, gem_pool=True)).double()
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        x = torch.cat(
            [
                (model.cls_token + model.cls_pos).expand(2, -1, -1),
                model.patch_embed(images) + model.pos_embed,
            ],
            1,
        )
        x = model.norm(model.blocks(x))
        pooled = x[:, 1:].clamp(min=1e-6).pow(3).mean(1).pow(1 / 3)
        torch.testing.assert_close(model(images), (x[:, 0] + pooled)[:, None])


@pytest.mark.parametrize(
    ('kind', 'wrong', 'message'),
    [
        (JPMViT, dict(num_part_tokens=3), 'neither part tokens nor gem_pool'),
        (JPMViT, dict(gem_pool=True), 'neither part tokens nor gem_pool'),
        (JPMViT, dict(num_branches=9), 'num_branches must be 1 to 8'),
        (JPMViT, dict(shift=0), 'shift must be 1 to 8'),
        (JPMViT, dict(groups=5), 'groups must divide it or the number after it, got shift=5 and groups=5'),
        (PASSViT, dict(gem_pool=True), 'gem_pool is for a ViT without part tokens, got num_part_tokens=3'),
        (PASSViT, dict(side_information=dict(cam_id=0)), 'at least one value per field'),
    ],
)
def test_wrong_arguments_are_named(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(ARCH, img_size=(64, 32), **wrong)


@pytest.mark.slow
def test_training_with_branches_cameras_margins_and_centers(tmp_path):
    """Mixed precision and a resume: centers and embeddings of cameras are in the checkpoint."""
    images = write_images(tmp_path / 'market1501', contrast=1.0)
    model = config()
    model['backbone']['side_information'] = dict(cam_id=2)
    model['head'].update(num_classes=8, classifier=dict(type='ArcFace', margin=0.2), center_weight=5e-4)
    cfg = source_config(images, tmp_path / 'whole', train_cfg__max_epochs=2, train_cfg__val_interval=2)
    cfg.model = model
    cfg.optim_wrapper = dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    whole = train(cfg)
    cfg.work_dir = str(tmp_path / 'resumed')
    resumed = train(cfg, resume=tmp_path / 'whole' / 'epoch_1.pth')
    first, second = whole.model.state_dict(), resumed.model.state_dict()
    assert not [name for name in first if not torch.equal(first[name], second[name])]
    assert {'head.center.centers', 'backbone.sie_embed'} <= first.keys()
    assert {value.dtype for value in first.values()} == {torch.float32, torch.int64}
    logged = records(whole)
    assert {'loss_id', 'loss_triplet', 'loss_center'} <= {name for record in logged for name in record}
    assert any('reid/mAP' in record for record in logged)
