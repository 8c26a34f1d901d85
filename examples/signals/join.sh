#!/bin/sh
# Joins a run from a shell: waits for "go", does its part, says "shell-done". RUN=<id of the run> sh join.sh
base="${LABCTL_URL:-http://127.0.0.1:8470}/api/v1/runs/$RUN/signals"

ask() { # the lab holds the question until there is an answer; it may restart meanwhile
    while :; do
        code=$(curl -s -o "$answer" -w '%{http_code}' --max-time 60 "$@")
        case $code in
            200 | 201) return 0 ;;
            4*) cat "$answer" >&2; exit 1 ;;
            204) ;;
            *) sleep 0.5 ;;
        esac
    done
}

answer=$(mktemp) && trap 'rm -f "$answer"' EXIT
ask "$base/go?wait=30s"
ask "$base/shell-done" --data-binary @"$answer"
