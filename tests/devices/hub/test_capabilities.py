"""Negotiation as W3C WebDriver 2, section 7.2 has it: validate, merge, match; and the lab's own capabilities."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.hub.capabilities import Candidate, admits, misfit, process, request_for, with_defaults
from devices.hub.options import NOTHING, LabOptions, RecordOptions
from devices.webdriver import WebDriverError


def asked(always: Any = None, first: Any = None) -> list[Candidate]:
    request = {"alwaysMatch": always, "firstMatch": first}
    return process({"capabilities": {name: value for name, value in request.items() if value is not None}})


def test_nothing_asked_is_one_candidate_that_wants_nothing():
    assert process({"capabilities": {}}) == [Candidate()]


def test_first_match_is_merged_into_always_match_in_order():
    got = asked({"platformName": "linux"}, [{"browserName": "chrome"}, {"browserName": "firefox"}, {}])
    assert [each.capabilities for each in got] == [
        {"platformName": "linux", "browserName": "chrome"},
        {"platformName": "linux", "browserName": "firefox"},
        {"platformName": "linux"},
    ]


def test_null_is_as_if_it_were_not_there():
    assert asked({"browserName": None, "test:x": None}, [{"browserName": "chrome"}])[0].capabilities == {
        "browserName": "chrome"
    }


@pytest.mark.parametrize(
    ("always", "first", "place"),
    [
        ({"browserName": "a"}, [{"browserName": "a"}], "firstMatch[0].browserName is in alwaysMatch already"),
        ([], None, "alwaysMatch must be an object"),
        ({}, [], "firstMatch must be a list"),
        ({}, {}, "firstMatch must be a list"),
        ({}, [3], "firstMatch[0] must be an object"),
        ({"acceptInsecureCerts": "true"}, None, "alwaysMatch.acceptInsecureCerts"),
        ({"browserName": 5}, None, "alwaysMatch.browserName"),
        ({"platformName": False}, None, "alwaysMatch.platformName"),
        ({"pageLoadStrategy": "fast"}, None, "alwaysMatch.pageLoadStrategy"),
        ({"pageLoadStrategy": ["none"]}, None, "alwaysMatch.pageLoadStrategy"),
        ({"strictFileInteractability": 1}, None, "alwaysMatch.strictFileInteractability"),
        ({"timeouts": {"implicit": -1}}, None, "alwaysMatch.timeouts.implicit"),
        ({"timeouts": {"implicit": True}}, None, "alwaysMatch.timeouts.implicit"),
        ({"timeouts": {"pageLoad": None}}, None, "alwaysMatch.timeouts.pageLoad"),
        ({"timeouts": {"pageLoad": 2**53}}, None, "alwaysMatch.timeouts.pageLoad"),
        ({"timeouts": {"page": 1}}, None, "alwaysMatch.timeouts.page"),
        ({"proxy": {"proxyType": "SYSTEM"}}, None, "alwaysMatch.proxy.proxyType"),
        ({"proxy": {"proxyType": []}}, None, "alwaysMatch.proxy.proxyType"),
        ({"proxy": {"proxyType": {}}}, None, "alwaysMatch.proxy.proxyType"),
        ({"proxy": {"proxyType": "pac"}}, None, "alwaysMatch.proxy.proxyAutoconfigUrl"),
        ({"proxy": {"proxyType": "manual", "noProxy": "a"}}, None, "alwaysMatch.proxy.noProxy"),
        ({"proxy": {"proxyType": "manual", "socksProxy": "a"}}, None, "alwaysMatch.proxy.socksVersion"),
        ({"unhandledPromptBehavior": "shout"}, None, "alwaysMatch.unhandledPromptBehavior"),
        ({"unhandledPromptBehavior": {"alarm": "accept"}}, None, "alwaysMatch.unhandledPromptBehavior.alarm"),
        ({}, [{"javascriptEnabled": True}], "firstMatch[0].javascriptEnabled is no capability of WebDriver"),
        ({"lab:devise": "x"}, None, "lab:devise is not known; did you mean lab:device?"),
        ({"lab:idletimeout": 1}, None, "lab:idletimeout is not known; did you mean lab:idleTimeout?"),
        ({"lab:idleTimeout": 0}, None, "lab:idleTimeout must be a number of seconds"),
        ({"lab:labels": {"a": 1}}, None, "lab:labels must be an object of texts"),
        ({"lab:record": {"film": 60}}, None, "lab:record.film"),
        ({"lab:lease": "1", "lab:job": "2"}, None, "lab:lease goes without lab:job"),
    ],
)
def test_what_is_not_understood_is_an_invalid_argument_with_its_place(always, first, place):
    with pytest.raises(WebDriverError) as caught:
        asked(always, first)
    assert caught.value.code == "invalid argument"
    assert caught.value.message.startswith(place)


_KNOWN = "browserName pageLoadStrategy proxy timeouts unhandledPromptBehavior webSocketUrl x:y proxyType mode script"
_NAMES = st.sampled_from([*_KNOWN.split(), "lab:device", "lab:labels", "lab:record", "lab:idleTimeout", "lab:healing"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(_NAMES, _JSON, max_size=4))
def test_whatever_a_capability_s_value_is_it_is_understood_or_refused(capabilities):
    with contextlib.suppress(WebDriverError):
        asked(capabilities)


def test_what_is_valid_passes_as_it_is():
    wanted = {
        "acceptInsecureCerts": True,
        "pageLoadStrategy": "eager",
        "timeouts": {"script": None, "pageLoad": 3.0, "implicit": 0},
        "proxy": {"proxyType": "manual", "socksProxy": "a:1", "socksVersion": 5, "noProxy": ["b"]},
        "unhandledPromptBehavior": {"default": "ignore", "beforeUnload": "accept"},
        "webSocketUrl": True,
        "appium:anything": {"goes": [1, None]},
    }
    assert asked(wanted)[0].capabilities == wanted


def test_the_lab_s_own_capabilities_do_not_reach_the_target():
    candidate = asked(
        {"browserName": "chrome", "lab:device": "c1", "lab:idleTimeout": 5, "lab:record": {"film": True, "mask": True}}
    )[0]
    assert candidate.capabilities == {"browserName": "chrome"}
    assert candidate.options == LabOptions(
        device="c1", idle_timeout_s=5.0, record=RecordOptions(film_per_s=1.0, mask=True)
    )
    assert asked({"lab:record": False})[0].options.record == NOTHING


def test_those_of_the_lab_s_desktop_driver_reach_it():
    names = ("app", "arguments", "attach", "click", "commandTimeout", "display", "environment", "hidden", "home")
    names += ("screen", "scope", "sessionBus", "startTimeout", "windowManager", "workingDirectory")
    wanted = {f"lab:{name}": "x" for name in names}
    assert asked(wanted)[0] == Candidate(wanted)


@pytest.mark.parametrize(
    ("offered", "wanted", "fits"),
    [
        ({}, {"acceptInsecureCerts": True}, True),
        ({}, {"browserName": "chrome"}, False),
        ({}, {"browserName": ""}, True),
        ({"browserName": "chrome"}, {}, True),
        ({"browserName": "chrome"}, {"browserName": "firefox"}, False),
        ({"platformName": "linux"}, {"platformName": "Linux"}, True),
        ({"platformName": "Android"}, {"platformName": "iOS"}, False),
        ({"browserVersion": "120.0.6099"}, {"browserVersion": "120"}, True),
        ({"browserVersion": "120.0.6099"}, {"browserVersion": "12"}, False),
        ({"browserName": ["chrome", "chromium"]}, {"browserName": "chromium"}, True),
        ({"appium:udid": "1"}, {"appium:udid": "2"}, False),
    ],
)
def test_matching(offered, wanted, fits):
    assert admits(offered, wanted) is fits
    assert (misfit(offered, wanted) == "") is fits


def test_the_device_s_defaults_lie_beneath_what_is_asked():
    defaults = {"goog:chromeOptions": {"args": ["--headless=new"], "binary": "/b"}, "acceptInsecureCerts": False}
    wanted = Candidate({"goog:chromeOptions": {"args": ["--lang=de", "--headless=new"]}, "acceptInsecureCerts": True})
    assert request_for([wanted], defaults) == {
        "capabilities": {
            "alwaysMatch": {
                "goog:chromeOptions": {"args": ["--headless=new", "--lang=de"], "binary": "/b"},
                "acceptInsecureCerts": True,
            },
            "firstMatch": [{}],
        }
    }


@pytest.mark.parametrize("place", ["alwaysMatch", "firstMatch"])
def test_where_the_client_found_the_lab_is_kept_from_everybody_with_its_token(place):
    wanted = {"browserName": "chrome", "se:remoteUrl": "http://anna:secret@lab.example/webdriver"}
    (candidate,) = process({"capabilities": {place: wanted if place == "alwaysMatch" else [wanted]}})
    assert candidate.capabilities == {"browserName": "chrome"}


def test_several_candidates_leave_the_choice_to_the_target():
    request = request_for([Candidate({"a:b": 1}), Candidate({"a:b": 2})], {"c:d": 3})
    assert request == {"capabilities": {"alwaysMatch": {}, "firstMatch": [{"c:d": 3, "a:b": 1}, {"c:d": 3, "a:b": 2}]}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_no_json_whatever_makes_it_stumble(document):
    for parameters in (document, {"capabilities": document}, {"capabilities": {"alwaysMatch": document}}):
        with contextlib.suppress(WebDriverError):
            assert process(parameters)


@given(st.dictionaries(st.sampled_from(["a:a", "b:b", "c:c"]), JSON.filter(lambda value: value is not None)))
def test_defaults_never_hide_what_is_asked(wanted):
    merged = with_defaults({"a:a": "default", "b:b": 1, "d:d": True}, wanted)
    assert merged["d:d"] is True
    assert {name: merged[name] for name in wanted} == wanted
