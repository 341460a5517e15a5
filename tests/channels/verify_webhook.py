"""Verifies webhooks by the official package of Standard Webhooks: each line is {secret, headers, body}, answered by a line."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    asked = json.loads(line)
    try:
        Webhook(asked["secret"]).verify(asked["body"], asked["headers"])
        print("good", flush=True)
    except WebhookVerificationError as error:
        print(error, flush=True)
