"""Take the picture of docs/view.md: the page of `eventveil run --view`, in front of a simulated person.

    python benchmarks/page_picture.py docs/page.png

The people of `simulate:` are simulated, and the shipped weights were trained on others. Needs Chromium with its
driver, and selenium.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from eventveil.host.addresses import free_port
from eventveil.host.processes import module_command

SIZE = (1100, 640)
START_S, WATCHED_S = 120, 40


def picture(url: str) -> bytes:
    """Return a picture of the page, after it has been open for a while."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={SIZE[0]},{SIZE[1]}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(url)
        live = "return document.getElementById('status').textContent.includes('Live')"
        WebDriverWait(driver, START_S).until(lambda _: driver.execute_script(live))
        time.sleep(WATCHED_S)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False},
        )
        time.sleep(1)
        return base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
    finally:
        driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a PNG file")
    options = parser.parse_args()
    page = f"127.0.0.1:{free_port()}"
    command = module_command("eventveil.cli", "run", "simulate:", "--weights", "shipped", "--view", page)
    command += ["--set", f"publish.bind=tcp://127.0.0.1:{free_port()}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as pipeline:
        try:
            for text in pipeline.stderr:
                if "watch in a browser" in text:
                    break
            options.out.write_bytes(picture(f"http://{page}/"))
        finally:
            pipeline.terminate()


if __name__ == "__main__":
    main()
