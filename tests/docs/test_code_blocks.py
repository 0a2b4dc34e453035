"""Every Python block of the README and the docs runs, and says what the page says it says.

Numbers may differ by two in a hundred: another processor rounds otherwise.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from joblib.externals.loky import get_reusable_executor

import sklearn_cnn

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in path.parts and "```python" in path.read_text()
]
GUIDE = [path for path in PAGES if path.parent.name == "user_guide"]
BLOCK = re.compile(r"^```python\n(.*?)^```(?:\n+```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


SET = re.compile(r"{('[^}]*)}")


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def comparable(text):
    """One line, and the words of a set in order: a set of strings prints in any."""
    line = " ".join(text.split())
    return SET.sub(lambda found: ", ".join(sorted(found[1].split(", "))), line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path, monkeypatch, capsys):
    """A block followed by a text block prints it, or raises the error that it quotes."""
    get_reusable_executor().shutdown()  # its processes are in the folder of the page before
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    for code, expected in blocks:
        try:
            exec(compile(code, str(page), "exec"), names)
            said = capsys.readouterr().out
        except Exception as error:
            if not expected:
                raise
            said = f"{type(error).__name__}: {error}"
        if expected:
            said, expected = comparable(said), comparable(expected)
            assert NUMBER.sub("0", said) == NUMBER.sub("0", expected), code
            found, quoted = (list(map(float, NUMBER.findall(text))) for text in (said, expected))
            assert found == pytest.approx(quoted, rel=0.02), code


@pytest.fixture(autouse=True)
def _no_figures_left():
    """Close what the pages have drawn."""
    yield
    plt.close("all")


FROM_ELSEWHERE = {"features.png", "notebook.png"}
"""Drawn by examples/plot_features.py, and a browser's picture of what plot_summary.py writes."""


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_pictures_of_the_guide_are_what_its_code_draws(page):
    """Catches a picture that is not there, and one that no code of the page draws."""
    text = page.read_text()
    for name in re.findall(r"\]\(images/(\S+)\)", text):
        assert (page.parent / "images" / name).stat().st_size > 5000
        assert name in FROM_ELSEWHERE or f'savefig("{name}"' in text


def test_every_page_of_the_guide_is_in_its_table_of_contents():
    """In the list that people read, and in the one that makes the site's navigation."""
    folder = ROOT / "docs" / "user_guide"
    contents = (folder / "index.md").read_text()
    pages = {path.stem for path in folder.glob("*.md")} - {"index"} | {"../meta_estimators"}
    assert pages == set(re.findall(r"\(([\w./]+)\.md\)", contents))
    listed = re.search(r"```{toctree}\n:hidden:\n(.*?)```", contents, re.DOTALL)
    assert pages == set(listed[1].split())


def test_every_public_name_is_in_the_reference():
    public = set(sklearn_cnn.__all__) - {"__version__"}
    lines = (ROOT / "docs" / "api" / "index.md").read_text().splitlines()
    listed = [line.strip() for line in lines if re.fullmatch(r"   \w+", line)]
    assert sorted(listed) == sorted(public)
