"""mkdocs hooks: pages link to files of the repository, and the site holds those files.

A page links to `../examples/judged_benchmark.py` as it would for a reader of the repository. The
site shows that file as a page of its own under `source/`, so that the site depends on no host of
the repository and always shows the version that it was built from. A link to a file that does not
exist is left as it is; mkdocs then warns, and a strict build fails.

`CONTRIBUTING.md` and `CHANGELOG.md` of the repository's root are pages of the site.
"""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.docs.markdown_links import is_relative, rewritten, targets

ROOT_PAGES: Final = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Markdown files of the repository's root, and the pages that show them."""
SHOWN_AS_CODE: Final = {
    ".cff": "yaml",
    ".ipynb": "json",
    ".json": "json",
    ".jsonl": "json",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
    "": "text",
}
"""Suffixes of files that become a page with their text, and the language of its highlighting."""
LONGEST_SHOWN: Final = 200_000
"""Characters of a file that a page shows; longer ones can only be downloaded."""


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Adds a page or a download for every file outside `docs/` that a page links to."""
    root = Path(config.config_file_path).parent
    for root_name, uri in ROOT_PAGES.items():
        if (root / root_name).is_file():
            files.append(_copied(config, root_name, uri))
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for target in targets(page.content_string):
            name = repository_path(target, page.src_uri, config)
            if name is None or files.get_file_from_path(site_path(name, root)):
                continue
            added = _file_for(name, config)
            if added is not None:
                files.append(added)
                waiting += [added] if name.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points the links that leave `docs/` to the pages that `on_files` added."""
    root = Path(config.config_file_path).parent
    here = page.file.src_uri

    def change(target: str) -> str:
        name = repository_path(target, here, config)
        if name is None:
            return target
        uri = site_path(name, root)
        if files.get_file_from_path(uri) is None:
            return target
        anchor = target.partition("#")[2]
        relative = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        return f"{relative}#{anchor}" if anchor else relative

    return rewritten(markdown, change)


def repository_path(target: str, page_uri: str, config: MkDocsConfig) -> str | None:
    """The file of the repository that a link of a page means, where it is not one of `docs/`.

    `page_uri` is a page's path in the site. A page that shows a file of the repository has links
    that start from that file. For links to `docs/`, anchors, addresses and paths that leave the
    repository the result is None.
    """
    if not is_relative(target):
        return None
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir).relative_to(root).as_posix()
    origin = _origin(page_uri, docs)
    path = posixpath.normpath(
        posixpath.join(posixpath.dirname(origin), target.partition("#")[0].partition("?")[0])
    )
    if path.startswith("..") or (path.startswith(f"{docs}/") and origin.startswith(f"{docs}/")):
        return None
    return path


def site_path(name: str, root: Path) -> str:
    """Where the site shows a file of the repository: `source/examples/judged_benchmark.py.md`."""
    if name in ROOT_PAGES:
        return ROOT_PAGES[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if (root / name).is_dir():
        return f"source/{name}/README.md"
    suffix = PurePosixPath(name).suffix
    return f"source/{name}.md" if suffix in SHOWN_AS_CODE else f"source/{name}"


def _origin(page_uri: str, docs: str) -> str:
    """The file of the repository whose text a page of the site shows."""
    for name, uri in ROOT_PAGES.items():
        if page_uri == uri:
            return name
    if page_uri.startswith("source/"):
        return page_uri.removeprefix("source/")
    return f"{docs}/{page_uri}"


def _file_for(name: str, config: MkDocsConfig) -> File | None:
    """The page or the download that shows a file of the repository; None where there is none."""
    root = Path(config.config_file_path).parent
    path, uri = root / name, site_path(name, root)
    if path.is_dir():
        readme = f"{name}/README.md"
        if (root / readme).is_file():
            return _copied(config, readme, uri)
        listing = "\n".join(f"* `{one.name}`" for one in sorted(path.iterdir()) if one.is_file())
        return File.generated(config, uri, content=f"# {name}\n\n{listing}\n")
    if not path.is_file():
        return None
    if not uri.endswith(".md") or name.endswith(".md"):
        return _copied(config, name, uri)
    text = path.read_text(encoding="utf-8")[:LONGEST_SHOWN]
    language = SHOWN_AS_CODE[path.suffix]
    return File.generated(
        config, uri, content=f"# {name}\n\n~~~~~~{language}\n{text.rstrip()}\n~~~~~~\n"
    )


def _copied(config: MkDocsConfig, name: str, uri: str) -> File:
    root = Path(config.config_file_path).parent
    return File.generated(config, uri, abs_src_path=str(root / name))
