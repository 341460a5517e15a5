"""A real SMTP server, which requires STARTTLS and a login. Its port, then each message it takes, is a line of JSON.

smtp_server.py <certificate and key in PEM>
"""

import email
import json
import socket
import ssl
import sys
from email import policy

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("busy@"):
            return "451 try again later"
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        parts = [part for part in message.walk() if not part.is_multipart()]
        say(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "headers": dict(message.items()),
                "parts": {part.get_content_type(): part.get_content() for part in parts},
            }
        )
        return "250 2.0.0 queued as 7"


def say(line):
    print(json.dumps(line), flush=True)


def authenticate(server, session, envelope, mechanism, login):
    return AuthResult(success=(login.login, login.password) == (b"tidings", b"hush"), handled=False)


tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(sys.argv[1])
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
controller = Controller(
    Handler(),
    hostname="127.0.0.1",
    port=port,
    tls_context=tls,
    require_starttls=True,
    auth_required=True,
    authenticator=authenticate,
)
controller.start()
say({"port": port})
# Whoever started it ends it by closing this.
sys.stdin.read()
controller.stop()
