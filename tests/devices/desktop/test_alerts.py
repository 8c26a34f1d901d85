"""Modal dialogs answered as W3C's alerts, in zenity and in an editor that asks before it closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import ElementNotInteractableException, NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def alert_of(session: webdriver.Remote) -> Any:
    """The alert, as soon as one is open."""
    waiting = WebDriverWait(session, 20, poll_frequency=0.05, ignored_exceptions=[NoAlertPresentException])
    return waiting.until(lambda on: on.switch_to.alert)


def read_when_there(file: Path) -> str:
    WebDriverWait(file, 20, poll_frequency=0.02).until(lambda each: each.exists())
    return file.read_text(encoding="utf-8").strip()


def test_an_entry_takes_text_and_accept_answers_it(open_session: Any, tmp_path: Path) -> None:
    said = tmp_path / "said"
    session = open_session(app=["sh", "-c", f"zenity --entry --modal --text=Name? >{said}.new; mv {said}.new {said}"])
    alert = alert_of(session)
    assert alert.text == "Name?"
    alert.send_keys("Ada Lövelace")
    assert session.find_element(By.CSS_SELECTOR, "text").text == "Ada Lövelace"
    alert.accept()
    assert read_when_there(said) == "Ada Lövelace"


@pytest.mark.parametrize(("answer", "code"), [("accept", "0"), ("dismiss", "1")])
def test_a_question_is_accepted_or_dismissed(open_session: Any, tmp_path: Path, answer: str, code: str) -> None:
    said = tmp_path / "code"
    ask = f"zenity --question --modal --text=Sure?; echo $? >{said}.new; mv {said}.new {said}"
    session = open_session(app=["sh", "-c", ask])
    alert = alert_of(session)
    assert alert.text == "Sure?"
    with pytest.raises(ElementNotInteractableException, match="no field to type in"):
        alert.send_keys("words")
    getattr(alert, answer)()
    assert read_when_there(said) == code


def test_an_editor_that_asks_before_it_closes_stays_when_dismissed(open_session: Any) -> None:
    session = open_session(app="mousepad")
    editor = session.find_element(By.CSS_SELECTOR, "text[multi-line], text[editable='true']")
    editor.send_keys("unsaved")
    main = session.current_window_handle
    session.close()
    assert "save" in alert_of(session).text.lower()
    session.switch_to.alert.dismiss()
    with pytest.raises(NoAlertPresentException):
        _ = session.switch_to.alert.text
    session.switch_to.window(main)
    assert editor.text == "unsaved"
