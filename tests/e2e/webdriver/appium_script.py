"""An Appium test as anybody has them: it knows an endpoint and nothing of a lab. Prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys

from appium import webdriver
from appium.options.common import AppiumOptions
from appium.webdriver.common.appiumby import AppiumBy


def main() -> None:
    options = AppiumOptions()
    options.load_capabilities(
        {
            "platformName": "Fake",
            "appium:automationName": "Fake",
            "appium:deviceName": "Fake",
            "appium:app": sys.argv[1],
        }
    )
    driver = webdriver.Remote(os.environ["APPIUM_URL"], options=options)
    seen: dict[str, object] = {}
    try:
        field = driver.find_element(AppiumBy.XPATH, "//MockInputField")
        field.send_keys("hello")
        seen["typed"] = field.get_attribute("value")
        button = driver.find_element(AppiumBy.XPATH, "//MockButton")
        button.click()
        seen["size"] = field.size
        seen["buttons"] = len(driver.find_elements(AppiumBy.XPATH, "//MockButton"))
        seen["contexts"] = driver.contexts
        driver.orientation = "LANDSCAPE"
        seen["orientation"] = driver.orientation
        seen["picture"] = driver.get_screenshot_as_png()[:8].hex()
        seen["source"] = "MockInputField" in driver.page_source
    finally:
        driver.quit()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
