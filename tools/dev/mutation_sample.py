"""Estimate how many mutants the tests kill: a random sample of the mutations of cosmic-ray.

Cosmic-ray would run every mutant, tens of thousands of them. This draws some, each in a random place of the code, and
runs on each the tests of its module only. It works on a copy of the files that git tracks. Arithmetic is not replaced
by operations on bits: floating point numbers have none, so any test would kill these mutants.

    pip install cosmic-ray  # into an environment in which the tests run
    python tools/dev/mutation_sample.py glc/core glc/engine/hooks --number 60 --seed 0
"""

import argparse
import ast
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# Without bytecode: a file that changes twice in a second, to the same size, would pass for unchanged.
sys.dont_write_bytecode = True
os.environ['PYTHONDONTWRITEBYTECODE'] = '1'

ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = (
    'torch',
    'torchvision',
    'timm',
    'mmengine.runner',
    'sklearn.cluster',
    'numba',
    'networkit',
    'faiss',
)
_BITS_FOR_NUMBERS = re.compile(r'core/ReplaceBinaryOperator_(?!Bit)\w+_(Bit\w+|\wShift)')


class Mutant(NamedTuple):
    """A changed module: its path, the changed line and the whole text; the line before and after."""

    path: str
    line: int
    before: str
    after: str
    text: str


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'paths', nargs='+', help='modules or folders of modules, from the root of the repository'
    )
    parser.add_argument('--number', type=int, default=60, help='mutants')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--markers', default='', help='-m of pytest')
    parser.add_argument(
        '--confirm', action='store_true', help='try survivors on all tests of their package too'
    )
    parser.add_argument('--list', action='store_true', help='print the mutants and their tests, run nothing')
    return parser.parse_args()


def places(text: str) -> dict[tuple, list[tuple]]:
    """Find mutations by place and kind: of 11 replacements of one operator only one may be drawn."""
    nodes = list(ast_nodes(get_ast(text)))
    found = defaultdict(list)
    for name in sorted(operator_names()):
        operator_class = get_operator(name)
        # Operators with arguments need names of variables, which would have to be chosen.
        if operator_class.arguments() or _BITS_FOR_NUMBERS.fullmatch(name):
            continue
        operator = operator_class()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, position in enumerate(positions):
            found[position, operator_class.__module__].append((name, occurrence))
    return found


def meaning(text: str) -> str:
    """Return what runs: the syntax tree without annotations, which decide nothing here."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for name in ('annotation', 'returns'):
            if hasattr(node, name):
                setattr(node, name, None)
    return ast.dump(tree)


def draw(paths: list[str], number: int, seed: int) -> Iterator[Mutant]:
    """Draw different mutants, every place with the same probability."""
    modules = [ROOT / path for path in paths if path.endswith('.py')]
    modules += [file for path in paths for file in (ROOT / path).rglob('*.py')]
    texts = {file: file.read_text() for file in sorted(modules)}
    pool = [(file, *place) for file, text in texts.items() for place in places(text).items()]
    rng = random.Random(seed)
    rng.shuffle(pool)
    for file, (position, _), mutations in pool:
        name, occurrence = rng.choice(mutations)
        text = mutate_code(texts[file], get_operator(name)(), occurrence)
        try:
            if meaning(text) == meaning(texts[file]):
                continue
        except SyntaxError:
            continue
        row = position[0][0] - 1
        before, after = texts[file].splitlines(), text.splitlines()
        yield Mutant(str(file.relative_to(ROOT)), row + 1, before[row].strip(), after[row].strip(), text)
        number -= 1
        if not number:
            return


def tests_of(path: str) -> list[str]:
    """Find the tests of a module: those of its name in mirrored folders, else those that name it, else its package."""
    _, *folders, name = Path(path).with_suffix('').parts
    mirrored = [f'test_{folder}' for folder in folders]
    for depth in range(len(mirrored), 0, -1):
        files = (ROOT / 'tests').joinpath(*mirrored[:depth]).glob(f'test_{name.removesuffix("_hook")}*.py')
        if found := sorted(str(file.relative_to(ROOT)) for file in files):
            return found
    modules = ['glc', *folders, name]
    for depth in range(len(modules), 2, -1):
        dotted = '.'.join(modules[:depth])
        files = (file for file in (ROOT / 'tests').rglob('test_*.py') if dotted in file.read_text())
        if found := sorted(str(file.relative_to(ROOT)) for file in files):
            return found
    return package_tests(path)


def package_tests(path: str) -> list[str]:
    """Return all tests of the package of a module."""
    folder = f'tests/test_{Path(path).parts[1]}'
    return [folder if (ROOT / folder).is_dir() else 'tests']


def run_tests(copy: Path, tests: list[str], markers: str, timeout: float | None = None) -> str:
    """Run tests until the first failure: 'passed', 'failed' or 'timeout'.

    They run in a fork of this process, which has imported the libraries that take seconds to import, and nothing of the
    code under test.
    """
    process = multiprocessing.get_context('fork').Process(target=_pytest, args=(copy, tests, markers))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return 'timeout'
    if process.exitcode == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError(f'no tests in {tests}')
    return 'passed' if process.exitcode == 0 else 'failed'


def _pytest(copy: Path, tests: list[str], markers: str) -> None:
    os.setsid()  # with all that it starts, it can be killed as one group
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ['PYTHONPATH'] = str(copy)
    sys.exit(
        pytest.main(['-x', '-q', '-p', 'no:cacheprovider', '--hypothesis-seed=0', '-m', markers, *tests])
    )


def copy_repository(target: Path) -> None:
    """Copy the files that git tracks."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def main() -> None:
    """Draw mutants, run their tests, print a table and the rate."""
    args = parse_args()
    mutants = list(draw(args.paths, args.number, args.seed))
    if args.list:
        for mutant in mutants:
            print(f'{mutant.path}:{mutant.line}: {" ".join(tests_of(mutant.path))}')
            print(f'    {mutant.before}\n    {mutant.after}')
        return
    for library in _LIBRARIES:
        import_module(library)
    limits: dict[tuple[str, ...], float] = {}
    killed = 0
    print('| result | seconds | line | before | after |\n|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_repository(copy)
        for mutant in mutants:
            selections = [[*tests_of(mutant.path), mutant.path]] + [package_tests(mutant.path)] * args.confirm
            result = 'passed'
            start = time.perf_counter()
            for tests in selections:
                if tuple(tests) not in limits:
                    began = time.perf_counter()
                    if run_tests(copy, tests, args.markers) != 'passed':
                        raise RuntimeError(f'{tests} do not pass without a mutation')
                    limits[tuple(tests)] = 30 + 3 * (time.perf_counter() - began)
                (copy / mutant.path).write_text(mutant.text)
                result = run_tests(copy, tests, args.markers, limits[tuple(tests)])
                shutil.copy2(ROOT / mutant.path, copy / mutant.path)
                if result != 'passed':
                    break
            killed += result != 'passed'
            cells = (
                'SURVIVED' if result == 'passed' else 'killed' if result == 'failed' else 'killed (timeout)',
                f'{time.perf_counter() - start:.0f}',
                f'{mutant.path}:{mutant.line}',
                *(f'`{line}`'.replace('|', '\\|') for line in (mutant.before, mutant.after)),
            )
            print(f'| {" | ".join(cells)} |', flush=True)
    print(f'\n{killed} of {len(mutants)} mutants killed ({killed / len(mutants):.0%}); seed {args.seed}')


if __name__ == '__main__':
    main()
