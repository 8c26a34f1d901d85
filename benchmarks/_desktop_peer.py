"""The peers of the desktop driver, pyatspi and dogtail, on an application that runs already. Run by the system's
Python.

`python3 _desktop_peer.py pyatspi|dogtail APPLICATION REPEATS`: one JSON object of times in milliseconds, medians.
"""

import json
import statistics
import sys
import time

import pyatspi

NAMES = ("2", "x_pow_y", "8", "result")


def timed(work, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


APPLICATION = sys.argv[2]
SOUGHT = {"mate-calc": "2", "gtk3-widget-factory": "Bottom"}[APPLICATION]


def application():
    desktop = pyatspi.Registry.getDesktop(0)
    return next(app for app in desktop if app and app.name == APPLICATION)


def showing(node):
    return node.getState().contains(pyatspi.STATE_SHOWING)


def by_pyatspi(name):
    return pyatspi.findDescendant(application(), lambda node: node.name == name and showing(node))


def tree(node):
    box = node.queryComponent().getExtents(0) if "Component" in pyatspi.listInterfaces(node) else None
    text = node.queryText().getText(0, -1) if "Text" in pyatspi.listInterfaces(node) else None
    below = [tree(child) for child in node if child is not None and showing(child)]
    return (node.getRoleName(), node.name, node.description, box and tuple(box), text, below)


def text_of(role):
    bar = pyatspi.findDescendant(application(), lambda node: node.getRole() == role and showing(node))
    return bar.queryText().getText(0, -1)


def power(find):
    bar = pyatspi.findDescendant(application(), lambda n: n.getRole() == pyatspi.ROLE_EDITBAR and showing(n))
    bar.queryEditableText().setTextContents("")
    began = time.perf_counter()
    for name in NAMES:
        find(name).queryAction().doAction(0)
    while bar.queryText().getText(0, -1) != "256":
        pass
    return (time.perf_counter() - began) * 1000


def main():
    which, repeats = sys.argv[1], int(sys.argv[3])
    if which == "dogtail":
        from dogtail.config import config  # noqa: PLC0415 - only where it is measured

        config.logDebugToFile = config.logDebugToStdOut = False
        from dogtail.tree import root  # noqa: PLC0415 - reads the configuration above

        def find(name):
            return root.application(APPLICATION).child(name=name, showingOnly=True)
    else:
        find = by_pyatspi
    find(SOUGHT)
    found = {"find": timed(lambda: find(SOUGHT), repeats)}
    if APPLICATION == "mate-calc":
        found["power"] = statistics.median(power(find) for _ in range(repeats))
    if which == "pyatspi":
        found["source"] = timed(lambda: tree(application()), repeats)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
