"""The documentation: what it shows runs, its links lead somewhere, the site builds offline."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from executorch_coreml import coremltools_bridge, runtime
from snippets import NOT_RUN, Session, blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Written by commands that have tests of their own.
GENERATED = {"operators.md", "suite.md", "conformance.md"}
# The titles of blocks that are not run, and on which pages.
EXCUSED = {
    "README.md": {"In a source folder"},
    "installation.md": {"In a source folder"},
    "cli.md": {"In your shell, once"},
    "cpp.md": {"In a source folder"},
    "llm.md": {"Takes minutes"},
}
# Of the languages of a page, those that are neither run nor Python nor a shell's.
OTHER = {"text", "json", "yaml", "swift", "cpp", "cmake", ""}
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def name(page: Path) -> str:
    return page.name


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; what a page switches on is off afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for each in set(sys.modules) - before:
        if getattr(sys.modules[each], "__file__", None) and str(tmp_path) in str(
            sys.modules[each].__file__
        ):
            del sys.modules[each]
    coremltools_bridge.disable()
    runtime.configure(precision="faithful", threads=None)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=name)
@pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many
def test_what_a_page_shows_runs(page: Path, session: Path) -> None:
    reader = Session(page)
    for block in blocks(page.read_text()):
        if block.is_run or block.title == "Output":
            reader.run(block)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_is_excused(page: Path) -> None:
    found = list(blocks(page.read_text()))
    titles = {block.title for block in found if block.is_code and not block.is_run}
    assert titles == EXCUSED.get(page.name, set())
    assert titles <= set(NOT_RUN)
    assert {block.language for block in found if not block.is_code} <= OTHER
    if page.name in GENERATED:
        assert not any(block.is_code for block in found)


def test_every_page_that_shows_code_is_found() -> None:
    """The pattern of blocks misses none: it finds as many as there are fences."""
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(), re.MULTILINE)
        shown = [block for block in blocks(page.read_text()) if block.language != "setup"]
        assert len(fences) == 2 * len(shown), page.name


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_from_outside_the_site(page: Path) -> None:
    """Those between its pages are the build's to check."""
    for target, _ in _LINK.findall(page.read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_readme_leads_to_every_page() -> None:
    linked = {target for target, _ in _LINK.findall((ROOT / "README.md").read_text())}
    pages = {f"docs/{page.name}" for page in PAGES[1:]} - {"docs/index.md"}
    assert pages <= linked


def test_the_site_builds_offline_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(os.environ, "NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        build(config)
    assert [record.getMessage() for record in caplog.records] == []
    built = {page.stem for page in tmp_path.glob("*.html")} - {"404"}
    assert built == {page.stem for page in PAGES[1:]}
    for page in tmp_path.glob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]* src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]* rel="(?:stylesheet|preload|preconnect|icon)"[^>]*>', text)
        assert loaded
        assert not [each for each in loaded if "//" in each], page.name
