"""A Selenium test as anybody has them: it knows an endpoint and nothing of a lab. Prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.file_detector import LocalFileDetector
from selenium.webdriver.support.wait import WebDriverWait

PAGE = """data:text/html;charset=utf-8,<title>Sums</title><input id=a><input id=b><button onclick="
  document.querySelector('%23sum').textContent = +a.value + +b.value; console.log('added')">add</button>
  <p id=sum></p><input type=file id=file><span onmouseover="this.textContent='over'" id=hover>off</span>
"""


def upload(driver: webdriver.Remote) -> str:
    """What the page reads from a file of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "letter.txt"
        file.write_text("Dear lab", encoding="utf-8")
        driver.find_element(By.ID, "file").send_keys(str(file))
    read = "const done = arguments[0]; document.querySelector('#file').files[0].text().then(done)"
    return str(driver.execute_async_script(read))


def main() -> None:
    browser = sys.argv[1]
    options = webdriver.ChromeOptions() if browser == "chrome" else webdriver.FirefoxOptions()
    options.enable_bidi = True
    for argument in sys.argv[2:]:
        options.add_argument(argument)
    driver = webdriver.Remote(os.environ["SELENIUM_REMOTE_URL"], options=options)
    seen: dict[str, object] = {}
    try:
        logged: list[str] = []
        driver.script.add_console_message_handler(lambda entry: logged.append(entry.text))
        driver.get(PAGE)
        seen["title"] = driver.title
        driver.find_element(By.ID, "a").send_keys("19")
        driver.find_element(By.ID, "b").send_keys("2", Keys.BACKSPACE, "23")
        driver.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(driver, 20).until(lambda each: each.find_element(By.ID, "sum").text)
        seen["sum"] = driver.find_element(By.ID, "sum").text
        ActionChains(driver).move_to_element(driver.find_element(By.ID, "hover")).perform()
        seen["hover"] = driver.find_element(By.ID, "hover").text
        WebDriverWait(driver, 20).until(lambda _: logged)
        seen["console"] = logged
        try:
            driver.find_element(By.ID, "none")
        except NoSuchElementException as exc:
            seen["missing"] = type(exc).__name__
        driver.file_detector = LocalFileDetector()
        try:
            seen["upload"] = upload(driver)
        except WebDriverException:  # this endpoint takes no files
            seen["upload"] = None
        seen["picture"] = driver.get_screenshot_as_png()[:8].hex()
        if browser == "chrome":
            seen["product"] = driver.execute_cdp_cmd("Browser.getVersion", {})["product"].split("/")[0]
    finally:
        driver.quit()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
