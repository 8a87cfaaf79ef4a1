"""What a reader can do on a page: groups, smoothing, search, messages, several runs, and all of it by keyboard."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

from empg_gym.trajectory import read_trajectories
from tests.report.browser import goto, keys, text_of, visit, wait
from tests.report.pages import list_page, overlaid_page, paired_page, training_page, windowed_page
from tests.report.samples import GROUP

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def training(folder):
    return training_page(folder)


@pytest.fixture(scope="module")
def paired(folder):
    return paired_page(folder)


def cells(driver, selector="tbody tr"):
    """Return the texts of the cells of each row in the visible view."""
    script = "return [...document.querySelectorAll('.view:not([hidden]) ' + arguments[0])].map(r => [...r.cells].map(c => c.innerText))"
    return driver.execute_script(script, selector)


def focus_id(driver):
    return driver.execute_script("return document.activeElement.id")


def test_j_and_k_walk_every_step_there_and_back(browser, training):
    visit(browser, training, "#/episode/5")
    count = len(browser.execute_script("return [...document.querySelectorAll('.step h3')].map(e => e.id)"))
    assert count > 2
    there = [("j", number) for number in [*range(1, count + 1), count]]
    back = [("k", number) for number in [*range(count - 1, 0, -1), 1]]
    for key, expected in there + back:
        keys(browser, key)
        wait(browser, lambda d, expected=expected: focus_id(d) == f"step-title-{expected}")


def test_groups_show_rewards_lengths_and_advantages_side_by_side(browser, training):
    run = training.parent
    members = [item for item in read_trajectories(run / "trajectories.jsonl") if item.info["kind"] == "training"][:GROUP]
    visit(browser, training, "#/groups")
    assert text_of(browser, "#nav-groups-count") == "3" and len(cells(browser)) == 3
    browser.find_element("css selector", "#view-groups .row-link").click()
    wait(
        browser,
        lambda d: (
            d.execute_script("return location.hash") == "#/group/0-1-0" and not d.find_element("id", "view-group").get_property("hidden")
        ),
    )
    rows = cells(browser)
    assert [row[0] for row in rows] == [f"Episode {5 + place}" for place in range(GROUP)]
    assert [float(row[2]) for row in rows] == [item.info["training_reward"] for item in members]
    assert [int(row[4]) for row in rows] == [len(item.steps) for item in members]
    shown = [float(row[7].replace("−", "-")) for row in rows]
    means = [sum(step.diagnostics["advantage"] for step in item.steps) / len(item.steps) for item in members]
    assert shown == pytest.approx(means, abs=6e-4)
    keys(browser, "n")
    wait(browser, lambda d: d.execute_script("return location.hash") == "#/group/0-11-0")
    browser.find_element("css selector", ".group tbody a").click()
    wait(browser, lambda d: "Its group" in (text_of(d, "#view-episode .neighbours") or ""))


def test_rates_of_the_list_are_never_over_several_phases_or_runs(browser, training, paired):
    visit(browser, training, "#/episodes")
    assert text_of(browser, "#episodes-status") == "1 to 24 of 24 episodes."
    goto(browser, "#/episodes?phase=training")
    assert re.search(r"; \d+ of 12 samples solved\.$", text_of(browser, "#episodes-status"))
    visit(browser, paired, "#/episodes")
    assert text_of(browser, "#episodes-status") == "1 to 50 of 240 episodes."
    goto(browser, "#/episodes?run=first")
    assert text_of(browser, "#episodes-status").endswith("% of these solved.")


def test_groups_of_equal_rewards_are_filtered(browser, training):
    visit(browser, training, "#/groups?rewards=equal")
    equal = len(cells(browser))
    goto(browser, "#/groups?rewards=differ")
    assert equal + len(cells(browser)) == 3
    assert browser.execute_script("return document.querySelector('select[name=rewards]').value") == "differ"


def test_curves_are_smoothed_and_the_raw_ones_stay_behind(browser, training):
    from selenium.webdriver.common.keys import Keys

    visit(browser, training)
    first = "#charts figure:nth-child(2) "
    line = "return document.querySelector(arguments[0]).getAttribute('d')"
    raw = wait(browser, lambda d: d.execute_script("return document.querySelector(arguments[0])?.getAttribute('d')", first + "path.curve"))
    assert browser.execute_script("return document.querySelectorAll('path.raw').length") == 0
    browser.execute_script("document.getElementById('smoothing').focus()")
    keys(browser, Keys.END)
    assert text_of(browser, "#smoothing-value") == "0.98"
    assert browser.execute_script(line, first + "path.raw") == raw
    smooth = browser.execute_script(line, first + "path.curve:not(.raw)")
    assert smooth != raw and roughness(smooth) < roughness(raw) / 3
    keys(browser, Keys.HOME)
    assert text_of(browser, "#smoothing-value") == "off" and browser.execute_script(line, first + "path.curve") == raw


def roughness(path):
    heights = [float(height) for height in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
    return sum(abs(right - left) for left, right in pairwise(heights))


def test_transcripts_are_searched_for_words_and_phrases(browser, paired, folder):
    run = folder / "pair" / "first"
    phrase = next(read_trajectories(run / "trajectories.jsonl")).steps[0].thought[:25]
    visit(browser, paired, "#/episodes")
    browser.find_element("id", "search").send_keys(f'"{phrase}"')
    status = lambda d: text_of(d, "#episodes-status")  # noqa: E731
    wait(browser, lambda d: status(d) == "None of 240 episodes fits these filters.")
    browser.find_element("id", "search-in").click()
    wait(browser, lambda d: status(d).startswith("1 to 1 of 1 episode (filtered from 240)") and "Searching" not in status(d))
    assert browser.execute_script("return document.querySelector('.found mark').textContent") == phrase
    assert "in=transcripts" in browser.execute_script("return location.hash"), "a search can be bookmarked"
    browser.find_element("id", "search-in").click()
    wait(browser, lambda d: status(d).startswith("None of 240"))


def messages(driver, selector=".messages .message"):
    role, content = "e.querySelector('h3, h4').textContent", "e.querySelector('.text').textContent"
    script = f"return [...document.querySelectorAll(arguments[0])].map(e => ({{role: {role}, content: {content}}}))"
    return driver.execute_script(script, selector)


def test_messages_are_shown_exactly_as_sent(browser, training):
    first = list(read_trajectories(training.parent / "trajectories.jsonl"))[4]
    visit(browser, training, "#/episode/5")
    browser.find_element("id", "as-sent").click()
    wait(browser, lambda d: d.execute_script("return !!document.querySelector('.messages')"))
    assert messages(browser) == first.to_messages()
    assert focus_id(browser) == "as-sent", "the toggle keeps the focus"
    keys(browser, "j", "j")
    wait(browser, lambda d: focus_id(d) == "step-title-2")
    browser.execute_script("document.getElementById('as-sent').click()")
    wait(browser, lambda d: d.execute_script("return !!document.querySelector('#step-1')"))


def test_prompts_of_a_history_window_are_shown_as_they_were(browser, folder):
    page = windowed_page(folder)
    [episode] = read_trajectories(page.parent / "trajectories.jsonl")
    visit(browser, page, "#/episode/1")
    browser.find_element("id", "as-sent").click()
    third = wait(browser, lambda d: d.find_elements("css selector", ".messages > .step")[2:3])[0]
    third.find_element("css selector", "summary").click()
    prompt = wait(browser, lambda d: messages(d, ".messages > .step:nth-child(3) details .message"))
    steps = episode.steps
    opening = f"{episode.instruction}\n(1 earlier turn is not shown.)\n\n{steps[1].observation}"
    assert prompt == [
        {"role": "system", "content": episode.system_prompt},
        {"role": "user", "content": opening},
        {"role": "assistant", "content": steps[1].response},
        {"role": "user", "content": steps[2].observation},
    ]


def test_evaluations_are_side_by_side_and_their_differences_are_filtered(browser, paired, folder):
    def outcomes(name):
        return {item.task: item.success for item in read_trajectories(folder / "pair" / name / "trajectories.jsonl")}

    first, second = outcomes("first"), outcomes("second")
    expected = sum(first[task] and not second[task] for task in first)
    visit(browser, paired)
    browser.find_element("id", "nav-tasks").click()
    wait(browser, lambda d: len(cells(d)) == 50)
    [button] = [one for one in browser.find_elements("css selector", ".presets button") if one.text == "first solved, second failed"]
    button.click()
    wait(browser, lambda d: text_of(d, "#tasks-status") == f"{expected} tasks of 120: first solved {expected}, second solved 0.")
    assert all("success" in row[1] and "failure" in row[2] for row in cells(browser)) and len(cells(browser)) == expected
    assert button.get_attribute("aria-pressed") == "true"
    browser.find_element("css selector", "#view-tasks tbody a").click()
    wait(browser, lambda d: "The same task in: second" in (text_of(d, ".same-task") or ""))
    browser.find_element("css selector", ".same-task a").click()
    wait(browser, lambda d: "The same task in: first" in (text_of(d, ".same-task") or ""))


def test_training_runs_are_overlaid_with_bands_over_seeds(browser, folder):
    visit(browser, overlaid_page(folder))
    figure = "[...document.querySelectorAll('#charts figure')].find(e => e.textContent.startsWith('Success, training tasks'))"
    wait(browser, lambda d: d.execute_script(f"return {figure}.querySelectorAll('path.band').length") == 2)
    assert browser.execute_script(f"return {figure}.querySelectorAll('path.curve').length") == 2
    legend = browser.execute_script(f"return {figure}.querySelector('.legend').innerText")
    assert "grpo" in legend and "100.0 % to 100.0 %" in legend
    table = cells(browser, "#headline tbody tr")
    final = next(row for row in table if row[0] == "after training, valid_seen" and row[1].startswith("empg"))
    assert final[3].startswith("66.7 [") and final[4].startswith("33.3 [") and final[5] == "2 seeds"


def test_the_list_of_runs_is_filtered_and_sorted(browser, folder):
    visit(browser, list_page(folder), "")
    names = "return [...document.querySelectorAll('tbody tr:not([hidden]) th')].map(e => e.textContent)"
    browser.find_element("css selector", "thead button").click()
    assert browser.execute_script(names) == ["one", "training", "two"]
    browser.find_element("css selector", "thead button").click()
    assert browser.execute_script(names) == ["two", "training", "one"]
    browser.find_element("id", "filter").send_keys("evaluation")
    assert browser.execute_script(names) == ["two", "one"] and text_of(browser, "#status") == "2 of 3 runs."
    browser.find_element("css selector", "tbody tr:not([hidden]) a").click()
    wait(browser, lambda d: d.current_url.endswith("/two/report.html"))


def test_the_focus_visits_every_control_in_order(browser, paired):
    from selenium.webdriver.common.keys import Keys

    visit(browser, paired, "#/tasks?run0=solved&run1=failed&q=mug")
    selector = "a, button, input, select, summary, [tabindex='0']"
    controls = f'[...document.querySelectorAll("{selector}")].filter(e => e.checkVisibility() && !e.disabled)'
    count = browser.execute_script(f"window.controls = {controls}; document.activeElement.blur(); return controls.length")
    assert count > 12
    seen = []
    browser.execute_script("document.getSelection().removeAllRanges(); document.querySelector('.skip').focus()")
    for _ in range(count):
        seen.append(browser.execute_script("return window.controls.indexOf(document.activeElement)"))
        assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is visible"
        keys(browser, Keys.TAB)
    assert seen == list(range(count))


def test_a_task_is_found_and_read_by_keyboard_alone(browser, paired):
    from selenium.webdriver.common.keys import Keys

    visit(browser, paired)
    keys(browser, "/")
    wait(browser, lambda d: focus_id(d) == "search")
    keys(browser, '"number 17 on"', Keys.TAB, Keys.SPACE)
    wait(browser, lambda d: text_of(d, "#episodes-status").startswith("1 to 2 of 2 episodes"))
    browser.execute_script("document.querySelector('.row-link').focus()")
    keys(browser, Keys.ENTER)
    wait(browser, lambda d: focus_id(d) == "episode-title")
    keys(browser, "j")
    wait(browser, lambda d: focus_id(d) == "step-title-1")
    assert json.dumps(text_of(browser, "#episode-title")).count("number 17") == 1
