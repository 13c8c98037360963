"""Hooks of mkdocs.yml: what the site has beside the pages of docs/.

- README.md is the home page. CONTRIBUTING.md, CHANGELOG.md and SECURITY.md are pages too.
- Every package of ``glc`` gets a page of its public names.
- Pages that the navigation does not list come at its end.
- Links to files outside of docs/ lead to the repository, or are plain text where ``repo_url`` is empty.
- Roles of docstrings (``:class:`~glc.GLC```) become links.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    'README.md': 'index.md',
    **{name: name for name in ('CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md')},
}
LINK = re.compile(
    r'(?P<image>!?)\[(?P<text>[^][]*)\]\((?P<target>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)'
)
ROLE = re.compile(r':(?:class|func|meth|mod|attr|data|exc):<code>~?([\w.]*?)(\w+)(?:\(\))?</code>')


def packages() -> list[str]:
    """Names of the packages that have public names."""
    files = sorted((ROOT / 'glc').rglob('__init__.py'))
    return ['.'.join(path.parent.relative_to(ROOT).parts) for path in files if '__all__' in path.read_text()]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation: the API, and pages that it does not list."""
    (api,) = [entry for entry in config.nav if 'API' in entry]
    api['API'] = [{package: f'api/{package}.md'} for package in packages()]
    pages = [path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob('*.md')]
    rest = set(pages) - set(listed(config.nav))
    config.nav += [{'More': sorted(rest)}] if rest else []
    return config


def listed(nav: Any) -> list[str]:
    """Pages of a navigation."""
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in listed(entry)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    for package in packages():
        files.append(File.generated(config, f'api/{package}.md', content=f'# {package}\n\n::: {package}\n'))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to pages of the site, or to the repository."""
    source = next(
        (name for name, uri in PAGES.items() if uri == page.file.src_uri), f'docs/{page.file.src_uri}'
    )

    def replace(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link['target']))
        uri = PAGES.get(target, target.removeprefix('docs/'))
        if files.get_file_from_path(uri):
            path = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')
            return f'{link["image"]}[{link["text"]}]({path}{link["anchor"] or ""})'
        if not (ROOT / target).exists():
            return link[0]  # mkdocs warns
        return (
            f'[{link["text"]}]({config.repo_url.rstrip("/")}/blob/main/{target})'
            if config.repo_url
            else link['text']
        )

    return LINK.sub(replace, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the roles of docstrings into links, where the site has the object."""
    return ROLE.sub(r'<autoref identifier="\1\2" optional><code>\2</code></autoref>', html)
