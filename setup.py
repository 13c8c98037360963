"""Package description; run with ``pip install .`` or ``pip install ".[cpu]"``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Requirement lines of ``requirements/<name>.txt``, without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def version() -> str:
    """The version written in ``glc/__init__.py``."""
    source = (ROOT / 'glc' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE).group(1)


setup(
    name='glc',
    version=version(),
    description='Unsupervised person re-identification with graph label correction',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords=['person re-identification', 'unsupervised learning', 'pseudo labels', 'graph neural network'],
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=['glc', 'glc.*']),
    python_requires='>=3.10,<3.14',
    install_requires=requirements('runtime'),
    extras_require={name: requirements(name) for name in ('cpu', 'gpu', 'optional', 'tests')},
)
