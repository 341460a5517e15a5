#!/usr/bin/env python3
"""Folds an export of the log into an inbox as it was: what `tidings replay --user USER --at CURSOR` prints.

    curl -H 'accept: application/x-ndjson' -H "x-api-key: $KEY" $URL/v1/events | fold_inbox.py USER CURSOR
"""
import json
import sys

user, at = sys.argv[1:]
position_at = int(at.split(".")[1])
items, listed, complete = {}, {}, False

for line in sys.stdin:
    event = json.loads(line)
    if event.get("end"):
        complete = True
        continue
    position = int(event["cursor"].split(".")[1])
    if event.get("user_id") != user or position > position_at:
        continue
    id, data, now = event["aggregate_id"], event["data"], event["recorded_at"]
    kind, _, name = event["type"].partition(".")
    if kind != "notification":
        continue
    if name == "created":
        kept = {key: data[key] for key in ("category", "priority", "data", "tags") if key in data}
        items[id] = {"id": id, **data["content"], **kept, "created_at": now}
        if "deliver_at" not in data:
            listed[id] = position
    item = items[id]
    item["cursor"] = event["cursor"]
    if name == "released":
        listed[id] = position
    if name in ("seen", "read"):
        item.setdefault("seen_at", now)
    if name in ("read", "archived"):
        item[name + "_at"] = now
    if name == "snoozed":
        item["snoozed_until"] = data["until"]
    undone = {"unread": "read_at", "unarchived": "archived_at", "woken": "snoozed_until"}
    item.pop(undone.get(name), None)
    if name in ("cancelled", "expired"):
        listed.pop(id, None)

if not complete:
    sys.exit("the export was cut short")
shown = [items[id] for id in sorted(listed, key=listed.get, reverse=True)]
active = [item for item in shown if "archived_at" not in item and "snoozed_until" not in item]
unread, unseen = (sum(name not in item for item in active) for name in ("read_at", "seen_at"))
json.dump({"unread": unread, "unseen": unseen, "cursor": at, "items": shown}, sys.stdout)
