"""The schedule of a config, against schedules worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from glc.apis import ConfigError, load_config
from glc.apis.plan import plan_schedule
from glc.cli.draw_schedule import spans
from tests.runs import RESTART, tiny_config

ROOT = Path(__file__).resolve().parents[2]


def plan(leaf: str, **options):
    return plan_schedule(load_config(str(ROOT / 'configs' / leaf), options))


def test_restart_and_correction(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path, train_cfg__max_epochs=4, train_cfg__val_interval=3)
    cfg.merge_from_dict(RESTART)
    hook = dict(corrector=dict(type='NoCorrection'), correct_begin=1, frozen_epochs=[3])
    cfg.merge_from_dict({f'default_hooks.pseudo_label.{name}': value for name, value in hook.items()})
    schedule = plan_schedule(cfg)
    np.testing.assert_allclose(schedule.lr, [[0.05], [0.025], [0.02], [0.002]])
    assert schedule.events == {
        'clustering': (1, 2, 3),
        'correction': (2, 3),
        'frozen': (4,),
        'restart': (3,),
        'evaluation': (3, 4),
    }


def test_schedule_of_a_published_recipe():
    schedule = plan('glc/vit_s_market_usl_restart.py')
    assert schedule.lr.shape == (50, 1)
    assert schedule.restart == (16,)
    assert schedule.evaluation == (10, 20, 30, 40, 50)


def test_iterations_within_an_epoch():
    schedule = plan('pass/vit_tiny_demo.py')
    epochs, moments = schedule.lr.shape
    assert epochs == 2
    assert moments > 10
    assert (np.diff(schedule.lr[0]) > 0).all()  # warm-up
    assert (np.diff(schedule.lr[1]) <= 0).all()  # cosine
    assert schedule.clustering == ()


def test_configs_without_a_schedule(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.param_scheduler = [dict(type='StepLR', step_size=3, by_epoch=False)]
    assert plan_schedule(cfg).lr.shape == (2, 2)  # the sampler says how long an epoch is
    cfg.train_dataloader.sampler.pop('iterations')
    with pytest.raises(ConfigError, match=r'StepLR counts iterations.*train_dataloader\.sampler\.iterations'):
        plan_schedule(cfg)
    cfg.train_cfg = None
    with pytest.raises(ConfigError, match=r'needs train_cfg\.max_epochs'):
        plan_schedule(cfg)


def test_numbers_in_short():
    assert spans([1, 2, 3, 5, 7, 8]) == '1-3, 5, 7, 8'
    assert spans([]) == ''
