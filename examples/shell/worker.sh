#!/bin/sh
# A worker in shell: sh worker.sh [type ...]. API is where jobqueue listens, KEY an API key with the scope work.
# A job's payload, as JSON, is the standard input of `handle`; what that prints, JSON too, is the result.
API=${API:-http://127.0.0.1:8000} QUEUE=${QUEUE:-default} ME=sh-$$-$(date +%s)
[ $# -gt 0 ] || set -- shout
TYPES=$(printf ',"%s"' "$@" | cut -c2-)

handle() { tr '[:lower:]' '[:upper:]'; }

post() { # path, body. Repeats what got no answer: a settlement may be sent twice.
    curl -sf --retry 20 --retry-connrefused --retry-max-time 30 -H 'Content-Type: application/json' \
        ${KEY:+-H "Authorization: Bearer $KEY"} "$API$1" -d "$2"
}

while :; do
    job=$(post "/queues/$QUEUE/claim" "{\"worker\":\"$ME\",\"types\":[$TYPES],\"wait_s\":20,\"lease_s\":60}") || { sleep 1; continue; }
    head='^{"jobs": \[{"job_id": "\([^"]*\)", "token": "\([^"]*\)"'
    id=$(printf %s "$job" | sed -n "s/$head.*/\1/p") token=$(printf %s "$job" | sed -n "s/$head.*/\2/p")
    [ "$token" ] || continue # nothing to do: ask again
    payload=$(printf %s "$job" | sed -n 's/.*"lease_until": "[^"]*", "payload": \(.*\)}\]}$/\1/p')
    if result=$(printf %s "$payload" | handle); then
        post "/jobs/$id/finish" "{\"token\":\"$token\",\"result\":$result}" >/dev/null
    else
        post "/jobs/$id/finish" "{\"token\":\"$token\",\"error\":{\"kind\":\"Shell\",\"message\":\"handle ended with $?\"}}" >/dev/null
    fi
done
