"""Joins a run from Python: waits for "go", does its part, says "python-done". RUN=<id of the run> python join.py"""

import http.client
import json
import os
import time
import urllib.error
import urllib.request

BASE = f"{os.environ.get('LABCTL_URL', 'http://127.0.0.1:8470')}/api/v1/runs/{os.environ['RUN']}/signals"


def ask(path: str, say: object = None) -> dict:
    while True:  # the lab holds the question until there is an answer; it may restart meanwhile
        try:
            with urllib.request.urlopen(f"{BASE}/{path}", say and json.dumps(say).encode(), timeout=60) as answer:
                if answer.status != 204:
                    return json.load(answer)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise SystemExit(error.read().decode()) from None
            time.sleep(0.5)


go = ask("go?wait=30s")
ask("python-done", {"heard": go["payload"]})
