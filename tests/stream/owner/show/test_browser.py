"""The owner's page in a real browser: it plays, moves through time, switches anonymizers and saves."""

from __future__ import annotations

import pytest
from chromium import NEEDED, SIZES, chromium, keep, set_size
from moving_disc import moving_disc
from page_helpers import PATIENCE_S
from pipeline_setup import make_kit
from show_helpers import TOKEN, plan_of, show_page
from stand_in_helpers import make_stand_in_kit

from eventveil import Sensor

pytest.importorskip("selenium", reason="no selenium here: pip install '.[test]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = NEEDED


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The browser on the page, the reel, and the folder for saved pictures."""
    folder = tmp_path_factory.mktemp("kit")
    kit = make_stand_in_kit(folder, moving_disc(Sensor(64, 64), 2.5))
    noisy = make_kit(folder, seconds=0.1)
    plans = {"stand-in": plan_of(kit.recording, kit.anonymizer), "noisy": plan_of(kit.recording, noisy.anonymizer)}
    out = tmp_path_factory.mktemp("out")
    with show_page(plans, out) as (reel, address), chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser, reel, out, f"http://127.0.0.1:{address[1]}/"


def wait(browser, condition):
    return WebDriverWait(browser, PATIENCE_S).until(lambda _: condition())


def find(browser, name):
    return browser.find_element(By.ID, name)


def drawn(browser, name):
    """Return the grey values that a canvas shows."""
    script = """
        const canvas = document.getElementById(arguments[0]);
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [...image.data].filter((_, place) => place % 4 === 0);
    """
    return browser.execute_script(script, name)


def shows(browser, name, picture):
    """Wait until a canvas shows a picture."""
    return wait(browser, lambda: drawn(browser, name) == picture.ravel().tolist())


def move_to(browser, number):
    script = """
        const place = document.getElementById("place");
        place.value = arguments[0];
        place.dispatchEvent(new Event("input"));
    """
    browser.execute_script(script, number)


def test_it_plays_moves_switches_and_saves(page):
    browser, reel, out, url = page
    browser.get(f"{url}#{TOKEN}")
    wait(browser, lambda: int(find(browser, "place").get_attribute("value")) > 2)  # it plays
    assert find(browser, "status").text == "The whole source"
    for number, name, column in ((4, "1", 1), (19, "2", 2), (7, "2", 2), (7, "1", 1)):
        find(browser, "anonymizers").find_element(By.CSS_SELECTOR, f"input[value='{name}']").click()
        move_to(browser, number)
        step = reel.step(number)
        shows(browser, "raw", step.columns[0].events)
        shows(browser, "published", step.columns[column].events)
        assert find(browser, "play").text == "Play"
    assert not find(browser, "raw-picture").is_displayed()
    find(browser, "png").click()
    wait(browser, lambda: find(browser, "saved").text.startswith("Saved "))
    assert len(list(out.iterdir())) == 1
    for name, size in SIZES.items():
        set_size(browser, size)
        keep(browser, f"show-{name}")
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors


def test_without_the_token_it_shows_nothing_and_says_why(page):
    browser, _, _, url = page
    browser.get("about:blank")
    browser.get(url)
    wait(browser, lambda: "lacks the token" in find(browser, "status").text)
    assert not any(drawn(browser, "raw"))
