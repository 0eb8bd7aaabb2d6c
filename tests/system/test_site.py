"""The pages of the site: all are in the menu, all links lead somewhere, and the references hold what the code has."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documentation import anchors_of, prose_of

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (REPOSITORY / "mkdocs.yml").exists(), reason="only a checkout has these files")
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(#[^)\s]+)?\)")


@pytest.fixture(scope="module")
def build_site():
    spec = importlib.util.spec_from_file_location("build_site", REPOSITORY / "docs" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(build_site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    build_site.assemble(folder)
    return folder


def places_of(menu):
    for entry in menu:
        for inner in entry.values():
            yield from places_of(inner) if isinstance(inner, list) else (inner,)


def test_every_page_is_in_the_menu_once(pages):
    listed = list(places_of(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}


def test_every_link_of_the_site_leads_to_a_page_of_it(pages):
    count = 0
    for page in pages.rglob("*.md"):
        for target, anchor in LINK.findall(prose_of(page.read_text())):
            place = (page.parent / target).resolve() if target else page
            assert place.is_file(), f"{page.name}: {target}"
            assert place.is_relative_to(pages), f"{page.name}: {target}"
            assert not anchor or anchor[1:] in anchors_of(place.read_text()), f"{page.name}: {target}{anchor}"
            count += 1
    assert count > 150


def test_the_reference_has_every_command_with_every_option(pages, build_site):
    text = (pages / "reference" / "cli.md").read_text()
    sections = dict(re.findall(r"(?ms)^## eventveil ([^\n]+)\n(.*?)(?=^## |\Z)", text))
    expected = dict(build_site.commands(build_site.program_of(build_site.app)))
    assert set(sections) == set(expected)
    assert len(sections) > 30
    for name, command in expected.items():
        for parameter in command.params:
            assert all(f"`{option}`" in sections[name] for option in parameter.opts if option.startswith("-")), name
    assert "\n```sh\neventveil run simulate: --weights shipped\n```" in sections["run"]


def test_every_configuration_is_in_the_reference(pages):
    text = (pages / "reference" / "configuration.md").read_text()
    for key in ("hot_pixels_days", "keep_windows", "release_ms", "people_linked"):
        assert f"{key}:" in text


def test_a_link_to_a_source_file_becomes_text_and_one_to_a_page_stays(build_site):
    source, pages = REPOSITORY / "docs" / "walks" / "student.md", build_site.places()
    text = "[a](../audit.md#part) [`b`](../../core/events.py) ![c](../page.png) [d](https://a.b) [e](#f)"
    assert build_site.with_links(text, source, pages) == (
        "[a](../audit.md#part) `b` ![c](../page.png) [d](https://a.b) [e](#f)"
    )


@pytest.mark.nightly
def test_the_site_is_built_without_a_warning(tmp_path):
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    done = subprocess.run([REPOSITORY / "scripts" / "docs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eventveil" in (REPOSITORY / "build/site/html/index.html").read_text()
