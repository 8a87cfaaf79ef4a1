"""The page in a real browser, opened from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.report.browser import goto, keys, screen, text_of, visit, wait
from tests.report.pages import write_pages
from tests.toy import TOY_ID

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_pages(tmp_path_factory.mktemp("runs"))


VIEWS = {
    "training": ("#/", "#/groups", "#/group/0-1-0", "#/episodes", "#/episode/5", "#/episode/999"),
    "evaluation": ("#/", "#/episodes", "#/episode/2"),
    "hostile": ("#/", "#/groups", "#/episodes", "#/episode/1"),
    "overlaid": ("#/", "#/groups", "#/group/0-1-0", "#/episodes"),
    "paired": ("#/", "#/tasks", "#/episodes", "#/episode/3"),
    "windowed": ("#/episode/1",),
}


def test_every_view_opens_without_an_error(browser, pages):
    for name, addresses in VIEWS.items():
        visit(browser, pages[name])
        for address in addresses:
            goto(browser, address)
            assert browser.execute_script("return document.getElementById('trouble').hidden")
            assert browser.execute_script("return document.querySelectorAll('.view:not([hidden]) h1').length") == 1
            assert not {"null", "undefined", "NaN"} & set(text_of(browser, ".view:not([hidden])").split())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_overview_shows_curves_tables_and_headline_numbers(browser, pages):
    visit(browser, pages["training"])
    titles = browser.execute_script("return [...document.querySelectorAll('#charts h3')].map(e => e.textContent)")
    for expected in (
        "Success",
        "Step entropy nats",
        "EMPG scaling",
        "EMPG bonus",
        "Policy loss",
        "Throughput tokens/s",
    ):
        assert expected in titles
    browser.execute_script("document.getElementById('further-fold').open = true")
    assert "custom/unheard_of" in text_of(browser, "#further"), "every metric is shown"
    wait(browser, lambda d: d.execute_script("return !!document.querySelector('#further path.curve')"))
    curves = "return document.querySelectorAll('#charts .plot svg path.curve').length"
    wait(browser, lambda d: d.execute_script(curves) >= len(titles))
    assert "Success, valid_unseen" in text_of(browser, ".tiles")
    assert "Method empg, 407,424 parameters, on cpu" in text_of(browser, ".facts")
    assert "34.9 % (20.0 % to 50.0 %)" in text_of(browser, ".comparison") and "+33.3 (+22.8 to +42.5)" in text_of(browser, ".comparison")
    visit(browser, pages["evaluation"])
    assert "61.0 %" in text_of(browser, ".tiles") and "52.0 % to 69.0 %" in text_of(browser, ".tiles")


def test_a_chart_can_be_read_by_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["training"])
    browser.execute_script("document.querySelector('#charts .plot').focus()")
    read = "return document.activeElement.getAttribute('aria-valuetext')"
    last = browser.execute_script(read)
    assert last.startswith("step 60,") and "valid_unseen" in last
    keys(browser, Keys.HOME)
    assert browser.execute_script(read).startswith("step 1,")
    keys(browser, Keys.ARROW_RIGHT)
    assert browser.execute_script(read).startswith("step 2,")
    browser.execute_script("document.querySelector('#charts details summary').click()")
    rows = "return document.querySelectorAll('#charts details[open] tbody tr').length"
    assert wait(browser, lambda d: d.execute_script(rows)) == 60


def test_episodes_are_filtered_sorted_and_paged(browser, pages):
    visit(browser, pages["evaluation"], "#/episodes")
    status = lambda: text_of(browser, "#episodes-status")  # noqa: E731
    assert status().startswith("1 to 50 of 120 episodes")
    browser.execute_script("document.querySelector('[aria-label=\"Next page\"]').click()")
    assert status().startswith("51 to 100 of 120 episodes")
    browser.execute_script("document.querySelector('[data-sort=entropy]').click()")
    assert (
        browser.execute_script("return document.querySelector('[data-sort=entropy]').closest('th').getAttribute('aria-sort')")
        == "descending"
    )
    values = browser.execute_script("return [...document.querySelectorAll('.meter')].map(e => parseFloat(e.textContent))")
    assert len(values) == 50 and values == sorted(values, reverse=True)
    visit(browser, pages["evaluation"], "#/episodes?outcome=failure")
    assert set(browser.execute_script("return [...document.querySelectorAll('tbody .badge')].map(e => e.textContent)")) == {"✗ failure"}
    browser.find_element("css selector", "#search").send_keys("number 17 ")
    wait(browser, lambda d: "number" in d.execute_script("return location.hash"))
    wait(browser, lambda d: "None of 120" in status() or status().startswith("1 to 1 of 1 "))
    visit(browser, pages["evaluation"], "#/episodes?q=no+such+thing")
    assert status() == "None of 120 episodes fits these filters."


def test_the_list_and_an_episode_work_by_keyboard_alone(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["training"], "#/episodes?sort=-entropy")
    browser.execute_script("document.querySelector('.row-link').focus()")
    keys(browser, Keys.ENTER)
    wait(browser, lambda d: "/episode/" in d.execute_script("return location.hash"))
    wait(browser, lambda d: d.execute_script("return document.activeElement.id") == "episode-title")
    first = browser.execute_script("return location.hash")
    assert text_of(browser, ".neighbours .where") == "1 of 24"
    keys(browser, "n")
    wait(browser, lambda d: d.execute_script("return location.hash") != first and text_of(d, ".neighbours .where") == "2 of 24")
    keys(browser, "p")
    wait(browser, lambda d: d.execute_script("return location.hash") == first and text_of(d, ".neighbours .where") == "1 of 24")
    keys(browser, "j")
    wait(browser, lambda d: d.execute_script("return document.activeElement.id").startswith("step-title-"))
    browser.execute_script("document.getElementById('single-keys').click()")
    keys(browser, "n")
    assert browser.execute_script("return location.hash") == first
    browser.execute_script("document.getElementById('single-keys').click()")


def test_an_episode_shows_the_conversation_with_entropies_and_advantages(browser, pages):
    visit(browser, pages["training"], "#/episode/5")
    step = wait(browser, lambda d: text_of(d, "#step-1") if "Thought" in (text_of(d, "#step-1") or "") else False)
    for part in ("Observation", "Thought", "Action", "entropy", "advantage", "→", "Tokens", "8 admissible actions"):
        assert part in step
    assert browser.execute_script("return document.querySelectorAll('#step-1 .token').length") == 24
    assert browser.execute_script("return document.querySelectorAll('.profile .advantage-before, .profile .advantage-after').length") >= 4
    assert "advantage after modulation" in text_of(browser, ".profile .legend")


def test_token_entropies_are_accessible_by_keyboard_and_screen_reader(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["training"], "#/episode/5")
    wait(browser, lambda d: d.execute_script("return !!document.querySelector('#step-1 .strip')"))
    assert browser.execute_script("return document.querySelectorAll('#step-1 .token[tabindex=\"0\"]').length") == 1, "a single tab stop"
    browser.execute_script("document.querySelector('#step-1 .token').focus()")
    name = "return document.activeElement.getAttribute('aria-label')"
    assert re.fullmatch(r"token 1 of 24, .*entropy [\d.e−]+ nats, probability .*", browser.execute_script(name))
    keys(browser, Keys.ARROW_RIGHT)
    assert browser.execute_script(name).startswith("token 2 of 24")
    assert text_of(browser, "#step-1 .readout").startswith("Token 2 of 24")
    heat = "return [...document.querySelectorAll('#step-1 .token')].map(e => parseFloat(e.style.getPropertyValue('--heat')))"
    assert max(browser.execute_script(heat)) > 0
    browser.execute_script("document.querySelector('input[name=overlay][value=none]').click()")
    assert max(browser.execute_script(heat)) == 0
    browser.execute_script("document.querySelector('input[name=overlay][value=entropy]').click()")


def test_hostile_texts_are_shown_and_not_executed(browser, pages):
    browser.get_log("browser")
    for address in ("#/", "#/episodes", "#/episode/1"):
        visit(browser, pages["hostile"], address)
        assert browser.execute_script("return window.hacked") is None
        assert browser.execute_script("return document.images.length") == 0
    wait(browser, lambda d: "onerror" in (text_of(d, "#step-1") or ""))
    assert "</script>" in text_of(browser, "#step-1") and "≥" in text_of(browser, "#step-1"), "bounds are marked"
    assert browser.get_log("browser") == []


def test_errors_are_explained_on_the_overview_and_on_the_episode_page(browser, pages):
    visit(browser, pages["failing"])
    notice = text_of(browser, "#errors")
    assert (
        notice.startswith("3 episodes failed and are excluded from every rate. Show them") and "3 × ValueError: message 2 broke" in notice
    )
    assert "with this folder as --out runs only these again" in notice
    browser.find_element("css selector", "#errors a").click()
    wait(browser, lambda d: (text_of(d, "#episodes-status") or "").startswith("1 to 3 of 3"))
    align = "return [...document.querySelectorAll('.episodes tr > :nth-child(2)')].map(e => getComputedStyle(e).textAlign)"
    assert set(browser.execute_script(align)) == {"left"}, "outcomes are aligned with their heading"
    goto(browser, "#/episode/2")
    assert 'raise ValueError(f"message {len(messages)} broke")' in text_of(browser, ".notice pre")
    assert "traceback" not in browser.execute_script("return document.querySelector('.episode-facts').textContent")


def test_the_overview_has_a_column_for_each_available_value(browser, pages):
    visit(browser, pages["priced"])
    head = "return [...document.querySelectorAll('#tables thead')[0].querySelectorAll('th')].map(e => e.textContent)"
    row = "return [...document.querySelectorAll('#tables tbody')[0].querySelectorAll('tr')[0].children].map(e => e.innerText)"
    cells = dict(zip(browser.execute_script(head), browser.execute_script(row), strict=True))
    summary = json.loads(pages["priced"].with_name("summary.json").read_text())["results"][TOY_ID]
    assert (cells["pass@2"], cells["Invalid"], cells["Tokens"]) == ("0.0 %", "100.0 %", "30k")
    assert cells["Cost"] == f"{summary['cost']['total']:.4f}" == "0.0330"
    visit(browser, pages["training"])
    assert not {"pass@1", "Cost"} & set(browser.execute_script(head))


def test_tables_of_numbers_fit_and_no_number_is_broken_over_two_lines(browser, pages):
    tables = "[...document.querySelectorAll('#overview .numbers, .view:not([hidden]) .numbers')]"
    for name in ("training", "evaluation"):
        visit(browser, pages[name])
        assert browser.execute_script(f"return {tables}.length") > 0
        assert browser.execute_script(f"return {tables}.filter(e => e.scrollWidth > e.parentElement.clientWidth).length") == 0
        wrap = "[...e.querySelectorAll('td')].filter(c => c.innerText && getComputedStyle(c).whiteSpace !== 'nowrap')"
        assert browser.execute_script(f"return {tables}.flatMap(e => {wrap}).length") == 0


CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
NAMES = (Path(__file__).parent / "names.js").read_text(encoding="utf-8")
_TOO_WIDE = """
const cut = (e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1;
return [...document.querySelectorAll('.scroll, .text, .strip')].filter(cut).map((e) => e.outerHTML.slice(0, 120));
"""
_LUMINANCE = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"


@pytest.mark.parametrize("name", ["training", "evaluation", "overlaid", "paired", "list"])
def test_contrast_and_layout_in_both_schemes_on_wide_and_narrow_screens(browser, pages, name):
    visit(browser, pages[name])
    for address in VIEWS.get(name, ()):
        goto(browser, address)
        browser.execute_script("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        for dark, width in ((False, 1280), (True, 360)) if address != "#/" else ((False, 1280), (False, 360), (True, 360), (True, 1280)):
            screen(browser, dark=dark, width=width)
            seen, low = browser.execute_script(CONTRAST)
            assert seen > 5 and low == [], (address, dark, width)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (
                address,
                "no sideways scrolling of the page",
            )
            assert width < 1280 or browser.execute_script(_TOO_WIDE) == [], (address, "no column is cut")
            assert (browser.execute_script(_LUMINANCE) < 150) is dark


@pytest.mark.parametrize("name", ["training", "evaluation", "overlaid", "paired", "windowed", "list"])
def test_every_control_has_an_accessible_name(browser, pages, name):
    visit(browser, pages[name])
    for address in VIEWS.get(name, ("#main",)):
        if name != "list":
            goto(browser, address)
        assert browser.execute_script(NAMES) == {"nameless": [], "twice": [], "jumps": [], "positive": 0}, address
