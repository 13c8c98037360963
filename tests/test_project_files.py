"""Files at the top of the project say the same about versions and commands."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import glc

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
OLDEST, NEWEST = 11, 13


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_bounds_of_python_agree():
    assert PYPROJECT['project']['requires-python'] == f'>=3.{OLDEST},<3.{NEWEST + 1}'
    versions = [f'3.{minor}' for minor in range(OLDEST, NEWEST + 1)]
    classifiers = PYPROJECT['project']['classifiers']
    assert [name.split()[-1] for name in classifiers if ':: Python :: 3.' in name] == versions
    assert PYPROJECT['tool']['ruff']['target-version'] == f'py3{OLDEST}'
    assert PYPROJECT['tool']['mypy']['python_version'] == f'3.{OLDEST}'
    for name in ('README.md', 'CONTRIBUTING.md', 'tools/_env.sh'):
        bounds = re.findall(r'Python 3\.(\d+) to 3\.(\d+)', text(name))
        assert set(bounds) == {(str(OLDEST), str(NEWEST))}, name
    environment = text('tools/_env.sh')
    assert f'(3, {OLDEST}) <= sys.version_info < (3, {NEWEST + 1})' in environment
    assert f'python3 {" ".join(f"python{version}" for version in versions[::-1])}}}' in environment


def test_versions_of_linters_agree():
    pinned = dict(re.findall(r'^(ruff|mypy)==(\S+)$', text('requirements/tests.txt'), re.MULTILINE))
    (repository,) = yaml.safe_load(text('.pre-commit-config.yaml'))['repos']
    hooks = {hook['id']: hook for hook in repository['hooks']}
    for name in ('ruff-check', 'ruff-format'):
        assert hooks[name]['additional_dependencies'] == [f'ruff=={pinned["ruff"]}']
    # The hook of mypy runs in the environment that requirements/tests.txt fills.
    assert hooks['mypy']['language'] == 'system'
    assert pinned['mypy']


@pytest.mark.parametrize('name', ['runtime', 'cpu'])
def test_locked_versions_are_allowed(name):
    locked = [
        Requirement(line) for line in text('requirements/lock.txt').splitlines() if line[:1] not in ('#', '')
    ]
    for line in text(f'requirements/{name}.txt').splitlines():
        if not line.startswith('#'):
            wanted = Requirement(line)
            pins = [pin for pin in locked if pin.name == canonicalize_name(wanted.name)]
            assert pins, f'{wanted.name} is not in requirements/lock.txt'
            for pin in pins:
                (version,) = (part.version for part in pin.specifier)
                assert version in wanted.specifier


def test_citation_is_of_this_version():
    citation = yaml.safe_load(text('CITATION.cff'))
    assert citation['cff-version'] == '1.2.0'
    assert citation['version'] == glc.__version__
    assert citation['license'] == PYPROJECT['project']['license']
    assert {'message', 'title', 'authors'} <= citation.keys()
    for reference in citation['references']:
        assert {'type', 'title', 'authors', 'year'} <= reference.keys()


def test_make_lints_with_the_commands_of_the_test_script():
    checks = re.findall(r'^check (.+)$', text('tools/run_tests.sh'), re.MULTILINE)
    modules = re.findall(r'\$\(PYTHON\) -m (.+?)(?: && |$)', text('Makefile'), re.MULTILINE)
    assert checks[:-1] == ['ruff check .', 'ruff format --check .', 'mypy']
    assert set(checks[:-1]) <= set(modules)


def test_optional_requirements_are_extras():
    extras = PYPROJECT['tool']['setuptools']['dynamic']['optional-dependencies']
    files = {path.stem for path in (ROOT / 'requirements').glob('*.txt')} - {'runtime', 'lock'}
    assert extras == {name: {'file': f'requirements/{name}.txt'} for name in files}


def test_version_is_a_literal_that_a_build_reads_without_importing():
    values = [
        ast.literal_eval(node.value)
        for node in ast.parse(text('glc/__init__.py')).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__version__'
    ]
    assert values == [glc.__version__]


@pytest.mark.slow
def test_model_index_names_all_metafiles():
    """MIM reads this file, from the package too."""
    listed = yaml.safe_load(text('model-index.yml'))['Import']
    assert listed == sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/metafile.yml'))
    package = Path(glc.__file__).parent / '.mim'
    models = [model for name in listed for model in yaml.safe_load((package / name).read_text())['Models']]
    assert len(models) > 100
    for model in models:
        assert (package / model['Config']).is_file()


def test_model_index_is_read_as_mim_reads_it():
    modelindex = pytest.importorskip('modelindex', reason='needs `pip install model-index`')
    index = modelindex.load(str(Path(glc.__file__).parent / '.mim' / 'model-index.yml'))
    collections = {collection.name for collection in index.collections}
    assert len(collections) == len(list(ROOT.glob('configs/*/metafile.yml')))
    assert {model.in_collection for model in index.models} == collections
    assert all(model.full_model.readme for model in index.models)


def test_workflows_run_the_continuous_integration_on_every_python():
    job = yaml.safe_load(text('.github/workflows/ci.yml'))['jobs']['test']
    assert job['strategy']['matrix']['python'] == [f'3.{minor}' for minor in range(OLDEST, NEWEST + 1)]
    assert '.ci/run' in [step.get('run') for step in job['steps']]
    for path in sorted((ROOT / '.github').rglob('*.yml')):
        assert yaml.safe_load(path.read_text()), path


def test_changelog_has_a_heading_of_this_version():
    headings = re.findall(r'^## (.+)$', text('CHANGELOG.md'), re.MULTILINE)
    assert headings[0] == 'Unreleased'
    assert glc.__version__ in headings
