"""The core must live without the framework, and without the optional faiss."""

import subprocess
import sys

import pytest

IMPORT_CORE = """
import importlib, pkgutil, sys
for name in {blocked}:
    sys.modules[name] = None
import glc.core
for module in pkgutil.walk_packages(glc.core.__path__, 'glc.core.'):
    importlib.import_module(module.name)
loaded = {forbidden} & {{name for name, module in sys.modules.items() if module is not None}}
assert not loaded, loaded
"""

USE_CORE = """
import numpy as np
from glc import GLC, ClusterMemory, JaccardDBSCAN, PseudoLabels, evaluate_ranking
rng = np.random.default_rng(0)
features = np.repeat(np.eye(3, 16), 10, axis=0) + 0.05 * rng.normal(size=(30, 16))
assert JaccardDBSCAN(k1=8, k2=3)(features).tolist() == [0] * 10 + [1] * 10 + [2] * 10
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    'blocked',
    [[], ['mmengine', 'mmcv', 'timm', 'torchvision', 'cv2', 'faiss']],
    ids=['installed', 'absent'],
)
def test_core_needs_no_framework(blocked):
    forbidden = {'mmengine', 'mmcv', 'timm', 'torchvision', 'cv2', 'faiss'}
    code = IMPORT_CORE.format(blocked=blocked, forbidden=forbidden) + USE_CORE
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
