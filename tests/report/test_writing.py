"""The report of a run as a page."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.report.run_directories import MakeRun
from unscatter.errors import RunError
from unscatter.report import write_comparison, write_report
from unscatter.runs import RunDirectory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def parsed(path: Path) -> ElementTree.Element:
    """The page as a tree; it is written so that an XML parser accepts it, which finds every tag that is not closed or nested wrongly."""
    return ElementTree.fromstring(path.read_text(encoding="utf-8").replace("<!DOCTYPE html>", ""))


def text_of(page: ElementTree.Element) -> str:
    return re.sub(r"\s+", " ", "".join(page.itertext()))


def sources(page: ElementTree.Element) -> list[str]:
    return [value for element in page.iter() for name in ("src", "href", "srcset", "data", "action") if (value := element.get(name))]


def test_report_is_one_self_contained_file(new_run: MakeRun) -> None:
    run = new_run(num_replicas=3, names=("p0", "p1"), columns=("x",))
    page = parsed(write_report(run))
    assert all(source.startswith(("data:", "#")) for source in sources(page))
    assert not [element for element in page.iter() if element.tag in ("script", "link", "iframe", "object", "base")]
    style = "".join(element.text or "" for element in page.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    anchors = {source[1:] for source in sources(page) if source.startswith("#")}
    assert anchors <= {element.get("id") for element in page.iter()}


def test_report_shows_every_figure_that_it_saves(new_run: MakeRun) -> None:
    run = new_run(num_replicas=3, names=("p0", "p3"), columns=("x",))
    run.write_table("parameters", [row | {"determined": i == 0} for i, row in enumerate(run.read_result("parameters"))])
    page = parsed(write_report(run))
    images = [element.get("src", "").partition(",")[2] for element in page.iter("img")]
    saved = sorted((run.path / "figures").glob("*.svg"))
    assert sorted(base64.b64decode(image) for image in images) == sorted(path.read_bytes() for path in saved)
    assert len(saved) == 5
    assert all(path.with_suffix(suffix).stat().st_size > 2_000 for path in saved for suffix in (".pdf", ".png", ".svg"))
    for image in images:
        ElementTree.fromstring(base64.b64decode(image))
    assert all(element.get("alt") for element in page.iter("img"))


def test_report_says_what_came_out_in_plain_words(new_run: MakeRun) -> None:
    text = text_of(parsed(write_report(new_run(names=("p0",), columns=(), num_steps=0))))
    assert "The fit converged" in text
    assert "'proxy2d'" in text
    assert "100,000 events in channel 'proton'" in text
    assert "cannot tell synthetic from measured events" in text
    assert "0.503 ± 0.004" in text
    assert "the largest drift, of 'p2', is 0.12 of its error" in text
    assert "p0 and p3 only as a ratio" in text
    assert "Errors are the Cramer-Rao bound" in text
    assert "unscatter solve proxy2d --set seed=7" in text
    assert "versions.torch" in text
    assert "result/parameters.parquet" in text


def test_report_warns_of_a_fit_that_did_not_converge(new_run: MakeRun) -> None:
    test = {"auc": 0.57, "auc_error": 0.004, "p_value": 1e-9, "level": 0.01}
    summary = {"converged": False, "stop_reason": "out of rounds", "two_sample": {"proton": test}, "skipped_share": 0.013}
    text = text_of(parsed(write_report(new_run(names=("p0",), columns=(), num_steps=0, summary=summary))))
    assert "The fit did not converge" in text
    assert "can still tell synthetic from measured events" in text
    assert "all steps were done, but the tests above were not passed" in text
    assert "1.3 % of the steps were skipped" in text


def test_table_rounds_to_the_error_and_names_what_is_not_determined(new_run: MakeRun) -> None:
    run = new_run(columns=(), num_steps=0)
    rows = run.read_result("parameters")[:2]
    rows[0] |= {"value": 0.512345, "error": 0.0123, "bound": 0.011, "truth": 0.5, "pull": 1.0036, "relative_bound": 0.022}
    rows[1] |= dict.fromkeys(("error", "bound", "relative_bound", "pull")) | {"value": 2.98765, "determined": False, "role": "nuisance"}
    run.write_table("parameters", rows)
    table = next(parsed(write_report(run)).iter("tbody"))
    first, second = (["".join(cell.itertext()).strip() for cell in row] for row in table)
    assert first[:7] == ["p0", "0.512", "0.012", "0.011", "2.2 %", "0.5", "+1.00"]
    assert second[:7] == ["p1 (nuisance)", "2.988", "", "not determined", "", "3", ""]


def test_names_are_shown_as_text_not_as_tags(new_run: MakeRun) -> None:
    nasty = "<script>alert('µ')</script> & co"
    run = new_run(names=(nasty,), channels=(nasty,), columns=(nasty,), settings=f"problem: {nasty}\n", summary={"null_directions": [nasty]})
    page = parsed(write_report(run))
    assert not list(page.iter("script"))
    assert text_of(page).count(nasty) >= 5


def test_run_without_a_result_gets_a_report_of_what_is_there(new_run: MakeRun) -> None:
    run = new_run(finished=False)
    run.log(0).write_text("step 1\n\x1b[31mTheoryError: boom\x1b[0m <x>\x00\n")
    page = parsed(write_report(run))
    text = text_of(page)
    assert "no result yet" in text
    assert "The last recorded step is 120" in text
    assert "result/summary.json" in text
    assert "Not a result" in text
    assert "TheoryError: boom <x>" in text
    assert len(list(page.iter("img"))) == 2


def test_empty_run_gets_a_report_that_says_so(tmp_path: Path) -> None:
    page = parsed(write_report(RunDirectory.create(tmp_path / "fit")))
    assert "No step has been recorded" in text_of(page)
    assert "No provenance has been stored" in text_of(page)
    assert not list(page.iter("img"))


def test_report_can_be_written_again(new_run: MakeRun) -> None:
    run = new_run(names=("p0",), columns=("x",), num_steps=2, finished=False)
    first = write_report(run).read_text()
    second = write_report(run).read_text()
    assert "figures/losses.pdf" in second
    assert re.findall('base64,[^"]*', first) == re.findall('base64,[^"]*', second)


def test_directory_that_cannot_be_written_is_one_clear_error(new_run: MakeRun) -> None:
    run = new_run(finished=False, num_steps=2)
    (run.path / "figures").write_text("in the way")
    with pytest.raises(RunError, match="figures"):
        write_report(run)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [420, 1200])
def test_pages_fit_the_window(new_run: MakeRun, tmp_path: Path, width: int) -> None:
    run = new_run(names=("p0", "a_very_long_parameter_name_without_end_" * 3), columns=("x",), num_replicas=3)
    for name, path in (("report", write_report(run)), ("comparison", write_comparison([run, run, run], tmp_path / "comparison.html"))):
        # The page reports its own width from inside a frame of the wanted one, since windows have a smallest width.
        page = tmp_path / f"{name}-framed.html"
        page.write_text(
            f'<iframe id="f" src="{path.as_uri()}" style="width:{width}px;height:900px;border:0"></iframe>'
            '<script>onload=()=>{const d=document.getElementById("f").contentDocument;'
            "const i=[...d.images],n=i.filter(x=>x.naturalWidth).length;"
            'document.title=[d.documentElement.scrollWidth,i.length,n].join(" ")}</script>'
        )
        scroll_width, num_images, num_loaded = (int(figure) for figure in _title_in_browser(page, tmp_path / f"profile-{name}").split())
        assert scroll_width <= width
        assert num_images == num_loaded > 0


def _title_in_browser(page: Path, profile: Path) -> str:
    assert CHROMIUM is not None
    quiet = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", *quiet.split()]
    arguments = [f"--user-data-dir={profile}", "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=True)
    found = re.search("<title>(.*?)</title>", done.stdout)
    assert found is not None, done.stdout[:500]
    return found[1]
