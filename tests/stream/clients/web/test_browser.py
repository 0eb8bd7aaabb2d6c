"""The page in a real browser, on a desktop and on a phone: streams, a lost pipeline, text that contains HTML."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from chromium import NEEDED, SIZES, chromium, keep, set_size
from page_helpers import PATIENCE_S, Publisher, page
from pipeline_helpers import pipeline_ended, word_gesture_header

pytest.importorskip("selenium", reason="no selenium here: pip install '.[test]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = NEEDED
TOKEN = "q0jRz9L0kQ2mX7uE5b1nVtYcH8s/pA+d=="
HTML = "<img src=x onerror=document.title='broken'>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Beat:
    """Publishes windows and gestures of two streams, ten a second, until it is silenced."""

    def __init__(self, endpoint="tcp://127.0.0.1:*", run="ab" * 8):
        self.publisher = Publisher(endpoint)
        self.endpoint = self.publisher.endpoint
        self.changed = {"run": run}
        self.silent, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self):
        y, x = np.mgrid[:32, :32]
        for seq in range(10_000):
            if self._done.wait(0.1):
                return
            if self.silent.is_set():
                continue
            for number, stream in enumerate(("door", "hall")):
                disc = ((x - 16 - 8 * np.cos(seq)) ** 2 + (y - 16 - 8 * np.sin(seq)) ** 2 < 20).astype(np.float32)
                where = {"stream": stream, "t_start_us": seq * 100_000, "t_end_us": (seq + 1) * 100_000}
                values = np.stack([disc, np.roll(disc, 5, axis=number)])
                self.publisher.window(seq, values, **where, **self.changed, lost={"age": seq // 10})
                label = "hand clapping" if stream == "door" else HTML
                self.publisher.gesture(seq, label=label, labels=(label,), probability=0.97, **where, **self.changed)

    def end(self):
        self._done.set()
        self._thread.join()
        self.publisher.close()


@pytest.fixture
def beat():
    opened = [Beat()]
    yield opened
    for each in opened:
        each.end()


def text(browser, name):
    return browser.find_element(By.ID, name).text


def wait_for(browser, condition):
    WebDriverWait(browser, PATIENCE_S, 0.05).until(lambda _: condition())


def complaints(browser):
    return [line["message"] for line in browser.get_log("browser")]


def brightness(browser):
    """The values of the picture."""
    script = (
        "const canvas = document.querySelector('#picture');"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    return browser.execute_script(script)


@pytest.mark.parametrize("name", SIZES)
def test_it_shows_streams_to_choose_from_and_all_that_is_known(browser, beat, name):
    set_size(browser, SIZES[name])
    scheme = {"name": "prefers-color-scheme", "value": "dark" if name == "phone" else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    with page(beat[0].endpoint) as (host, port):
        browser.get(f"http://{host}:{port}/")
        wait_for(browser, lambda: text(browser, "gesture") == "hand clapping")
        wait_for(browser, lambda: "age" in text(browser, "lost"))
        assert text(browser, "status") == "● Live"
        assert text(browser, "certainty") == "probability 97 %"
        assert "250 ms" in text(browser, "age")
        assert "UNTRAINED" in text(browser, "warning")
        assert "no audit" in text(browser, "certificate")
        wait_for(browser, lambda: len(set(brightness(browser))) > 2)  # a picture, and no empty frame
        choices = browser.find_elements(By.NAME, "stream")
        assert [choice.get_attribute("value") for choice in choices] == ["door", "hall"]
        choices[1].click()
        wait_for(browser, lambda: text(browser, "gesture") == HTML)  # as text
        wait_for(browser, lambda: text(browser, "timeline") == HTML)
        assert browser.title == "eventveil"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[name][0]
        small = (
            "return [...document.body.querySelectorAll('p, dt, dd, span, label')].filter("
            "e => e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 12).length"
        )
        assert browser.execute_script(small) == 0
        keep(browser, f"page-{name}")
        assert complaints(browser) == []
        browser.get("about:blank")


def test_it_says_that_the_pipeline_is_lost_and_finds_it_again(browser, beat):
    with page(beat[0].endpoint) as (host, port):
        browser.get(f"http://{host}:{port}/")
        wait_for(browser, lambda: text(browser, "status") == "● Live")
        beat[0].silent.set()  # as a network that drops everything
        wait_for(browser, lambda: "▲ The pipeline is lost: nothing has arrived for" in text(browser, "status"))
        keep(browser, "page-lost")
        beat[0].silent.clear()
        wait_for(browser, lambda: text(browser, "status") == "● Live")
        beat[0].end()  # as a killed publisher
        wait_for(browser, lambda: "▲ The pipeline is lost" in text(browser, "status"))
        beat[0] = Beat(beat[0].endpoint, run="cd" * 8)  # and another one in its place
        wait_for(browser, lambda: text(browser, "status") == "● Live")
        beat[0].silent.set()
        beat[0].publisher.send(pipeline_ended("failed", reason="the source failed"))
        wait_for(browser, lambda: "The pipeline has failed. the source failed" in text(browser, "status"))
        assert complaints(browser) == []
    wait_for(browser, lambda: "The connection to this page's server is lost" in text(browser, "status"))
    browser.get("about:blank")


def test_it_asks_for_the_token(browser, beat):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    with page(beat[0].endpoint, TOKEN) as (host, port):
        browser.get(f"http://{host}:{port}/")
        field = browser.find_element(By.ID, "token")
        wait_for(browser, field.is_displayed)
        field.send_keys("wrong" + TOKEN + "\n")
        wait_for(browser, browser.find_element(By.ID, "token-wrong").is_displayed)
        assert text(browser, "gesture") == "–"
        field.clear()
        field.send_keys(TOKEN + "\n")
        wait_for(browser, lambda: text(browser, "status") == "● Live")
        assert not field.is_displayed()
        browser.refresh()
        wait_for(browser, lambda: text(browser, "status") == "● Live")  # the tab remembers it
        assert TOKEN not in browser.current_url
        browser.get("about:blank")


def test_it_shows_what_a_stand_in_says(browser):
    with Publisher() as pipeline, page(pipeline.endpoint) as (host, port):
        pipeline.wait()
        browser.get(f"http://{host}:{port}/")
        word = {"book": "cd" * 32, "word": 7, "bits_per_second": 6.92}
        pipeline.window(0, np.ones((2, 3, 4)), trained=True, certificate="ef" * 32, **word)
        pipeline.send(word_gesture_header(label="nobody", presence=False, trained=True))
        wait_for(browser, lambda: text(browser, "bits") == "at most 6.92")
        wait_for(browser, lambda: text(browser, "certainty") == "shows nobody")
        assert "cdcdcdcdcdcdcdcd … – not verified: start this page with --book" in text(browser, "book")
        assert "not verified" in text(browser, "certificate")
        assert text(browser, "warning") == ""
        browser.get("about:blank")
