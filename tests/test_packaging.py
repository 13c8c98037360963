"""A wheel that is built from the source distribution works without the checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import glc

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('configs', 'docs', 'glc', 'requirements', 'tests', 'tools')
FILES = (
    *('CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'LICENSE', 'MANIFEST.in', 'Makefile', 'README.md'),
    *('SECURITY.md', 'mkdocs.yml', 'model-index.yml'),
)
BUILD_FILES = ('pyproject.toml', 'setup.py')


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed and that does not see the checkout; return its output."""
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(root: Path, folders: tuple[str, ...]) -> set[str]:
    """Paths of all source files in some folders, relative to ``root``; without the user's own configs."""
    return {
        str(path.relative_to(root))
        for folder in folders
        for path in (root / folder).rglob('*')
        if path.is_file() and not {'__pycache__', 'my'} & set(path.parts)
    }


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp('dist')
    checkout = folder / 'checkout'
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__')
        )
    for name in (*FILES, *BUILD_FILES):
        shutil.copy(ROOT / name, checkout)
    (checkout / 'configs/my/deep').mkdir(parents=True, exist_ok=True)
    (checkout / 'configs/my/deep/mine.py').write_text('data_root = "private"\n')
    # Without --sdist and --wheel, "build" makes the wheel from the unpacked source distribution.
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder, checkout, cwd=folder)
    (sdist,) = folder.glob('*.tar.gz')
    (wheel,) = folder.glob('*.whl')
    return sdist, wheel


@pytest.fixture(scope='module')
def python(distributions, tmp_path_factory):
    """Python of an environment that holds the wheel and borrows the requirements of this one."""
    folder = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'venv', '--without-pip', folder / 'env', cwd=folder)
    python = folder / 'env' / 'bin' / 'python'
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', distributions[1], cwd=folder)
    (site_packages,) = (folder / 'env').glob('lib/python*/site-packages')
    (site_packages / 'requirements.pth').write_text(sysconfig.get_path('purelib'))
    return python


def test_source_distribution_is_complete(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    expected = {*files_below(ROOT, FOLDERS), *FILES, *BUILD_FILES}
    assert expected <= names, expected - names
    assert not [name for name in names if 'configs/my' in name]


def test_wheel_holds_package_configs_and_tools_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    linked = {f'glc/.mim/{name}' for name in files_below(ROOT, ('configs', 'tools'))}
    assert names == files_below(ROOT, ('glc',)) | linked
    assert 'glc/py.typed' in names


def test_metadata_names_version_and_requirements(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        folder = zipfile.Path(archive, f'glc-{glc.__version__}.dist-info/')
        metadata = importlib.metadata.PathDistribution(folder)
        requirements = {Requirement(line) for line in metadata.requires}
    expected = set()
    for path in (ROOT / 'requirements').glob('*.txt'):
        if path.stem == 'lock':
            continue
        marker = '' if path.stem == 'runtime' else f'; extra == "{path.stem}"'
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith('#')]
        expected |= {Requirement(line + marker) for line in lines}
    assert requirements == expected


def test_every_module_of_the_wheel_imports(python, tmp_path):
    code = """
import importlib, pkgutil
import glc
from glc import GLC, JaccardDBSCAN
for module in pkgutil.walk_packages(glc.__path__, 'glc.'):
    importlib.import_module(module.name)
GLC(k=12), JaccardDBSCAN(eps=0.6)
print(glc.__file__)
"""
    file = run(python, '-c', code, cwd=tmp_path).splitlines()[-1]
    assert Path(file).is_relative_to(python.parents[1])


def test_console_script_and_configs_need_no_checkout(python, tmp_path):
    assert 'glc-train vit_s_market_usl' in run(python.parent / 'glc-train', '--help', cwd=tmp_path)
    code = 'from glc.apis import find_config; print(find_config("vit_s_market_usl"))'
    config = Path(run(python, '-c', code, cwd=tmp_path).strip())
    assert config.is_relative_to(python.parents[1])
    assert config.read_text() == (ROOT / 'configs/glc/vit_s_market_usl.py').read_text()


def test_a_type_checker_knows_the_exports(python, tmp_path):
    (tmp_path / 'use.py').write_text(
        'from glc import GLC, JaccardDBSCAN\n\nreveal_type(GLC(k=12))\nJaccardDBSCAN(misspelled=1)\n'
    )
    command = [sys.executable, '-m', 'mypy', '--python-executable', python, 'use.py']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'Revealed type is "glc.' in done.stdout, done.stdout
    assert 'Unexpected keyword argument "misspelled"' in done.stdout
