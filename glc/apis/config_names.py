"""Configs by name."""

from difflib import get_close_matches
from pathlib import Path

import glc

__all__ = ['find_config']

# A link to configs/ in a checkout, a folder in an installed package; mim looks there too.
_CONFIGS = Path(glc.__file__).parent / '.mim' / 'configs'


def find_config(name: str | Path) -> Path:
    """Find a config by its path, or one of the package by its name.

    Args:
        name: The path of a file, or ``vit_s_market_usl``, ``glc/vit_s_market_usl`` or
            ``configs/glc/vit_s_market_usl.py`` from any folder. A name without a folder is one of ``configs/glc``
            where that has it.

    Returns:
        The path of the file; one of the package is absolute.

    Raises:
        FileNotFoundError: If there is no such file and no such name. It suggests close names.
        ValueError: If several folders, ``configs/glc`` not among them, have the name.

    Example:
        >>> find_config('vit_s_market_usl').parts[-2:]
        ('glc', 'vit_s_market_usl.py')
    """
    if Path(name).is_file():
        return Path(name)
    wanted = Path(name).as_posix().removeprefix('configs/').removesuffix('.py')
    leaves = {
        path.relative_to(_CONFIGS).with_suffix('').as_posix(): path for path in _CONFIGS.glob('[!_]*/*.py')
    }
    for candidate in (wanted, f'glc/{wanted}'):
        if candidate in leaves:
            return leaves[candidate].resolve()
    found = [leaf for leaf in sorted(leaves) if leaf.endswith(f'/{wanted}')]
    if len(found) == 1:
        return leaves[found[0]].resolve()
    if found:
        raise ValueError(f"config '{name}' is one of {', '.join(found)}; name the folder too")
    stems = {leaf.partition('/')[2]: leaf for leaf in leaves}
    close = get_close_matches(wanted.rpartition('/')[2], stems, n=3)
    hint = f'; did you mean {" or ".join(close)}?' if close else ''
    raise FileNotFoundError(
        f"no config '{name}': {Path(name).absolute()} is no file, and {_CONFIGS.resolve()} has no such name{hint}"
    )
