"""The documentation's site is built from the pages without a broken link, with every page in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BUILDER = Path(__file__).parents[1] / "scripts" / "build_docs.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, BUILDER, folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built
    return folder / "site"


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text("utf-8")


def test_site_has_pages_reference_and_chinese(site: Path) -> None:
    assert "Bridges fleets of telecom" in page(site, "")
    for name in ("install", "mqtt", "alarms", "monitoring", "backup", "compatibility", "platforms/ums", "zh-CN/alarms"):
        assert "<h1" in page(site, name), name
    reference = page(site, "api")
    for name in ("EntityDescription", "Backend", "Context", "Source", "scan_interval"):
        assert f">{name}<" in reference or f"{name}</" in reference, name
    assert "<table" in page(site, "alarms")
    assert "条件" in page(site, "zh-CN/alarms")


def test_every_page_is_in_the_navigation(site: Path) -> None:
    start = page(site, "")
    listed = {link.strip("./").partition("#")[0].strip("/") for link in re.findall(r'href="?([^"\s>]+)', start)}
    built = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")} - {"."}
    assert len(built) > 40
    assert built - listed == set()


def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        loaded = re.findall(r"""(?:src=|<link[^>]+href=)["']?(https?:[^"'\s>]+)""", path.read_text("utf-8"))
        assert [each for each in loaded if not each.startswith("https://github.com/fleet2mqtt/")] == [], path


def test_links_of_the_site_lead_to_files(site: Path) -> None:
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue
        for link in re.findall(r"""<a [^>]*href=["']?([^"'\s>]+)""", path.read_text("utf-8")):
            target = link.partition("#")[0]
            if target and "://" not in target and not target.startswith("mailto:"):
                there = path.parent / target
                assert (there / "index.html").exists() or there.is_file(), f"{path}: {link}"


def test_broken_link_is_refused(tmp_path: Path) -> None:
    copied = tmp_path / "docs"
    copied.mkdir()
    (copied / "index.md").write_text("# A\n\n[there](nowhere.md)\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "a"\ndocs_dir = "docs"\nsite_dir = "site"\n')
    program = Path(sys.executable).with_name("zensical")
    built = subprocess.run([program, "build", "--strict"], cwd=tmp_path, capture_output=True, check=False)
    assert built.returncode != 0
