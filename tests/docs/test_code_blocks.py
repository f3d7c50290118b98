"""Every code block of the README and of docs/ runs, or says above it why it does not; links lead somewhere.

Blocks of a page run in order in a folder that contains `photo.jpg` and `photos/` (two images):
Python blocks in one namespace, `bash` blocks in a shell that stops at the first error, of `console` blocks
the lines after `$ `. The line above a block may be `<!-- not run: the reason -->`. Output is shown in blocks
of other languages.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
RUN = {"python", "bash", "console"}
SHOWN = {"text", "json", "yaml", "toml", "bibtex", "mermaid"}
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\s*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    code: str
    line: int  # of its first line of code, from 1
    not_run: str | None  # the reason


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        found.append(
            Block(match["language"], match["code"], line, reason["reason"] if reason else None),
        )
    return found


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader is assumed to work; it becomes the current one."""
    rows, columns = np.mgrid[0:96, 0:128]
    pixels = np.stack([rows * 2, columns, (rows > 60) * 200], axis=-1).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/first.jpg", "photos/second.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_shell(script: str, place: str) -> None:
    """Run `script` with this environment's `ovrcoat` and `python` first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, f"{place}\n{script}\n{run.stdout}{run.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_blocks_run(page: Path, folder: Path):
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page):
        if block.language not in RUN or block.not_run:
            continue
        place = f"{page_id(page)}:{block.line}"
        if block.language == "python":
            # empty lines in front, so that a traceback shows the page's line numbers
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
        elif block.language == "bash":
            run_shell(block.code, place)
        else:
            commands = [line[2:] for line in block.code.splitlines() if line.startswith("$ ")]
            assert commands, f"{place}: a console block without a line that starts with '$ '"
            run_shell("\n".join(commands), place)
        ran += 1
    runnable = [block for block in blocks(page) if block.language in RUN]
    assert ran + sum(block.not_run is not None for block in runnable) == len(runnable)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_fence_is_a_block_that_was_found(page: Path):
    fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), flags=re.M)
    assert len(fences) == 2 * len(blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_names_its_language(page: Path):
    unknown = [(block.line, block.language) for block in blocks(page) if block.language not in RUN | SHOWN]
    assert unknown == []


def test_the_pages_hold_many_blocks_and_most_of_them_run():
    runnable = [block for page in PAGES for block in blocks(page) if block.language in RUN]
    assert len(runnable) >= 15
    assert sum(block.not_run is None for block in runnable) >= 0.5 * len(runnable)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_to_files_lead_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_to_headings_lead_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    broken = [
        f"{file}#{anchor}"
        for file, anchor in links
        if anchor not in anchors(page.parent / file if file else page)
    ]
    assert broken == []


def test_anchors_are_those_of_github():
    assert "ovrcoat-segment-source" in anchors(ROOT / "docs" / "command-line.md")
    assert "ovrcoat-evaluate---data-data" in anchors(ROOT / "docs" / "command-line.md")


def test_pages_and_configurations_need_no_folder_beside_the_project():
    files = [*PAGES, *(ROOT / "configs").glob("*"), *(ROOT / "tools").rglob("*.yaml")]
    assert len(files) > 15
    assert [page_id(file) for file in files if "../shared" in file.read_text(encoding="utf-8")] == []
