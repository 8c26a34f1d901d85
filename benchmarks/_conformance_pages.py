"""Serves the pages that the conformance tests of a web-platform-tests checkout need, on free ports of the loopback.

`python _conformance_pages.py CHECKOUT`: prints one line, the servers' configuration in JSON as those tests read it, and
serves until its standard input ends. Runs as a process of its own, since the checkout brings its own libraries.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys

# Two of the first, because the tests tell origins apart by port.
PORTS = {"http": 2, "https": 2, "ws": 1, "wss": 1, "h2": 1}
PORTS |= {f"{scheme}-{space}": 1 for scheme in ("http", "https") for space in ("private", "public")}


def main() -> None:
    checkout = sys.argv[1]
    sys.path.insert(0, checkout)
    from tools.serve import serve  # noqa: PLC0415

    from tools import localpaths  # noqa: F401, PLC0415  # of the checkout; puts its libraries on the path

    log = logging.getLogger("pages")
    builder = serve.build_config(log, h2=True)
    builder.ports = {name: ["auto"] * count for name, count in PORTS.items()}
    builder.check_subdomains = False  # the browsers are told where they are
    builder.server_host = "127.0.0.1"
    builder.doc_root = checkout
    context = multiprocessing.get_context("fork")
    with builder as config, serve.stash.StashServer(mp_context=context):
        routes = serve.get_route_builder(log, config.aliases, config).get_routes()
        servers = serve.start(log, config, routes, context, [])
        domains = sorted(config.domains_set)
        print(json.dumps({"wptserve": config.as_dict(), "domains": domains}), flush=True)
        sys.stdin.read()
        for each in serve.iter_servers(servers):
            each.request_shutdown()
        for each in serve.iter_servers(servers):
            each.wait(timeout=5)


if __name__ == "__main__":
    main()
