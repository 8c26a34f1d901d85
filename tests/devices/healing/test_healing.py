"""What became of elements between two versions of a dialog."""

from __future__ import annotations

import pytest
from _dialogs import DIALOGS, UNSEEN, Dialog
from healing import grade, ours

from devices.healing import (
    STANDARD,
    THRESHOLD,
    Ground,
    Healer,
    Heuristic,
    Locator,
    SourceError,
    locate,
    locator_for,
    match_trees,
    parse_source,
)

OLD = """
<Window name="Order"><Label name="Customer"/><Edit id="txtCustomer"/><Button id="btnSave" name="Save"/></Window>
"""
NEW = """
<Window name="Order"><Pane><Label name="Customer"/><Edit id="customer"/></Pane>
<Button id="cancel" name="Cancel"/><Button id="save-order" name="Save"/></Window>
"""
CUSTOMER = Locator("name", "Customer")


@pytest.mark.parametrize(
    "locator", [Locator("id", "txtCustomer"), Locator("xpath", "//Edit"), Locator("css selector", "#txtCustomer")]
)
def test_a_renamed_and_moved_field_is_healed_with_its_evidence(locator: Locator) -> None:
    healer = Healer()
    healer.remember(CUSTOMER, OLD)
    heal = healer.heal(locator, NEW)
    assert heal is not None
    assert heal.replacement == Locator("id", "customer")
    assert heal.confidence >= THRESHOLD
    assert heal.evidence[0] == "same id but for case and prefix"
    assert "after the same element" in heal.evidence
    assert (heal.was, heal.now) == ("Edit #txtCustomer", "Edit #customer")


def test_a_deleted_element_is_not_healed() -> None:
    healer = Healer()
    healer.remember(CUSTOMER, OLD)
    assert healer.heal(Locator("id", "btnSave"), '<Window name="Order"><Label name="Customer"/></Window>') is None


def test_nothing_is_healed_that_was_never_seen() -> None:
    healer = Healer()
    assert healer.heal(Locator("id", "btnSave"), NEW) is None
    healer.remember(CUSTOMER, OLD)
    assert healer.heal(Locator("id", "nothing"), NEW) is None


def test_a_locator_is_healed_by_the_source_in_which_it_was_found_last() -> None:
    healer = Healer()
    save = Locator("id", "btnSave")
    healer.remember(save, OLD)
    healer.remember(Locator("id", "printer"), '<Window name="Print"><ComboBox id="printer"/></Window>')
    heal = healer.heal(save, NEW)
    assert heal is not None
    assert heal.replacement == Locator("id", "save-order")


def test_on_another_page_nothing_is_healed_however_alike_a_field_looks() -> None:
    """A test that came to the wrong page must not type into it."""
    login, call = DIALOGS["login, ids renamed"][0], DIALOGS["Android, resource ids with another package"][1]
    user = Locator("id", "txtUser")
    healer = Healer()
    healer.remember(user, login.source)
    heal = healer.heal(user, call.source)
    assert heal is not None
    assert "id/number" in heal.now
    assert heal.confidence < 0.5
    assert heal.evidence[0] == "another page: 33% of what had an id or a label is here"


def test_a_heuristic_of_ones_own_heals_what_the_standard_ones_do_not() -> None:
    old, new = (
        '<W><B mark="7" name="Send"/></W>',
        '<W><P/><P><B mark="7" name="Dispatch now"/><B name="Print"/></P></W>',
    )
    same_mark = Heuristic(
        "same mark",
        Ground.IDENTITY,
        9.0,
        lambda before, after, _known: (
            bool(mark := before.attributes.get("mark")) and mark == after.attributes.get("mark")
        ),
    )
    confidences = []
    for heuristics in (STANDARD, (same_mark, *STANDARD)):
        healer = Healer(heuristics)
        healer.remember(Locator("name", "Send"), old)
        heal = healer.heal(Locator("name", "Send"), new)
        confidences.append(0.0 if heal is None else heal.confidence)
    assert confidences[0] < THRESHOLD <= confidences[1]
    assert heal is not None
    assert heal.evidence[0] == "same mark"


def test_the_same_tree_is_maintained_as_a_whole() -> None:
    for old, _ in DIALOGS.values():
        matching = match_trees(parse_source(old.source), parse_source(old.source))
        assert [(left.path, right.path) for left, right in matching.maintained if left.path != right.path] == []
        assert (matching.deleted, matching.created) == ((), ())


def test_every_element_is_maintained_deleted_or_created_once() -> None:
    for before, after in [*DIALOGS.values(), *UNSEEN.values()]:
        old, new = parse_source(before.source), parse_source(after.source)
        matching = match_trees(old, new)
        assert sorted(node.order for node in (*(left for left, _ in matching.maintained), *matching.deleted)) == list(
            range(len(old.nodes))
        )
        assert sorted(node.order for node in (*(right for _, right in matching.maintained), *matching.created)) == list(
            range(len(new.nodes))
        )


@pytest.mark.parametrize("pairs", [DIALOGS, UNSEEN], ids=["dialogs", "unseen"])
def test_graded_dialogs_reach_what_is_promised(pairs: dict[str, tuple[Dialog, Dialog]]) -> None:
    result = grade(ours, pairs)
    assert result.changed_found >= 0.9 * result.changed
    assert [what for confidence, what in result.confidences if confidence >= THRESHOLD] == []
    assert result.kept_found == result.kept


def test_anybody_may_add_a_heuristic() -> None:
    old = parse_source('<w><b data-qa="7" name="left"/><b data-qa="8" name="right"/></w>')
    new = parse_source('<w><b data-qa="8" name="up"/><b data-qa="7" name="down"/></w>')
    by_mark = Heuristic(
        "same data-qa", Ground.IDENTITY, 6.0,
        lambda left, right, _known: left.attributes.get("data-qa") == right.attributes.get("data-qa"),
    )  # fmt: skip
    pair = match_trees(old, new, (by_mark,)).pair(old.nodes[1])
    assert pair is not None
    assert (pair.new.name, pair.evidence) == ("down", ("same data-qa",))


def test_ids_made_by_a_machine_say_nothing() -> None:
    old = parse_source('<w><input id=":r1:"/><label name="Mail"/></w>')
    new = parse_source('<w><label name="Mail"/><textarea id=":r1:"/></w>')
    assert old.nodes[1].id_words == ""
    pair = match_trees(old, new).pair(old.nodes[1])
    assert pair is None or "same id" not in pair.evidence


def test_pages_are_read_as_html_and_their_scripts_left_out() -> None:
    page = parse_source(
        '<!doctype html><html><body><script>x</script><button id="a">  Go\n on </button><br></body></html>'
    )
    assert [node.tag for node in page] == ["html", "body", "button", "br"]
    assert page.nodes[2].label == "Go on"
    assert [str(node) for node in locate(page, Locator("css selector", "body > button"))] == ["button #a 'Go on'"]


def test_rectangles_of_android_are_read() -> None:
    node = parse_source('<hierarchy><node bounds="[10,20][110,60]" content-desc="Mute"/></hierarchy>').nodes[1]
    assert (node.rect, node.label) == ((10, 20, 100, 40), "Mute")


def test_the_locator_that_lasts_longest_is_proposed() -> None:
    tree = parse_source('<w><b id="x"/><b id="y" name="n"/><b id="y"/><b/></w>')
    assert [locator_for(tree, node) for node in tree.nodes[1:]] == [
        Locator("id", "x"), Locator("name", "n"), Locator("xpath", "/w/b[3]"), Locator("xpath", "/w/b[4]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "is empty"), ("<a><b></a>", "neither XML nor HTML"), ("no tree", "neither XML nor HTML")],
)
def test_a_source_that_is_no_tree_is_told(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_source(source)


@pytest.mark.parametrize(
    ("locator", "message"),
    [
        (Locator("xpath", "//b["), "is no XPath"),
        (Locator("css selector", "##"), "is no CSS selector"),
        (Locator("-android uiautomator", "x"), "cannot be looked up"),
    ],
)
def test_a_locator_that_makes_no_sense_is_told(locator: Locator, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        locate(parse_source("<w/>"), locator)
