"""The whole story with the package that openapi-python-client makes of the document.

Arguments: the folder of the package, the service's address, an API key, a user, and that user's token.
"""

import datetime
import sys

folder, address, key, user, token = sys.argv[1:]
sys.path.insert(0, folder)

from tidings_client import AuthenticatedClient  # noqa: E402
from tidings_client.api.events import list_events, list_notification_events  # noqa: E402
from tidings_client.api.inbox import get_inbox, get_inbox_counts, mark_inbox_read  # noqa: E402
from tidings_client.api.notifications import (  # noqa: E402
    create_notification,
    create_notifications,
    get_notification,
    mark_notification_read,
)
from tidings_client.models import (  # noqa: E402
    Content,
    CreateNotification,
    CreateNotificationData,
    CreateNotifications,
    Priority,
    Problem,
)
from tidings_client.types import UNSET  # noqa: E402

backend = AuthenticatedClient(address, key, prefix="", auth_header_name="x-api-key", raise_on_unexpected_status=True)
alice = AuthenticatedClient(address, token, raise_on_unexpected_status=True)

# Create, and repeat it with the same key.
note = CreateNotification(
    user_id=user,
    content=Content(title="Your invoice is ready", body="20 EUR"),
    category="billing",
    priority=Priority.HIGH,
    data=CreateNotificationData.from_dict({"invoice": 1042}),
    tags=["invoice"],
)
created = create_notification.sync_detailed(client=backend, body=note, idempotency_key="python-1")
assert created.status_code == 201, created
assert created.headers["Tidings-Cursor"] == created.parsed.cursor
again = create_notification.sync_detailed(client=backend, body=note, idempotency_key="python-1")
assert again.parsed == created.parsed and again.headers["Idempotent-Replayed"] == "true"
notification = created.parsed.id


# Many at once, one of them wrong.
def plain(title):
    return CreateNotification(user_id=user, content=Content(title=title, body=""))


batch = create_notifications.sync_detailed(
    client=backend, body=CreateNotifications([plain("two"), plain(""), plain("three")])
)
results = batch.parsed.results
assert [result.status for result in results] == [201, 422, 201], results
assert results[1].problem.errors[0].pointer == "/content/title"
cursor = batch.headers["Tidings-Cursor"]

# The inbox as its user sees it, with all of that.
inbox = get_inbox.sync(user, client=alice, tidings_min_cursor=cursor)
assert inbox.unread == 3, inbox
first = next(item for item in inbox.items if item.id == notification)
assert (first.data.to_dict(), first.tags, first.priority) == ({"invoice": 1042}, ["invoice"], "high")
assert first.created_at <= datetime.datetime.now(datetime.timezone.utc)

# Page through it.
titles, before = [], UNSET
while before is not None:
    page = get_inbox.sync(user, client=alice, limit=1, before=before)
    titles += [item.title for item in page.items]
    before = page.next_
assert titles == ["three", "two", "Your invoice is ready"], titles

# Mark one, then all.
marked = mark_notification_read.sync(notification, client=alice)
counts = get_inbox_counts.sync(user, client=alice, tidings_min_cursor=marked.cursor)
assert (counts.unread, counts.unseen) == (2, 2), counts
assert mark_inbox_read.sync(user, client=alice).marked == 2

# How it stands, and what happened to it.
one = get_notification.sync(notification, client=backend)
assert (one.status, one.deliveries[0].channel) == ("active", "in_app"), one
timeline = list_notification_events.sync(notification, client=backend)
assert timeline.events[0].type_ == "notification.created"
assert len(list_events.sync(client=backend, user_id=user, limit=2).events) == 2

# Problems.
refused = create_notification.sync_detailed(client=backend, body=plain(""))
problem = refused.parsed
assert isinstance(problem, Problem) and refused.status_code == 422, refused
assert (problem.type_, problem.status) == ("invalid-request", 422)
assert problem.errors[0].pointer == "/content/title"
foreign = get_notification.sync(notification, client=alice)
assert (foreign.status, foreign.type_) == (403, "forbidden"), foreign

print("told")
