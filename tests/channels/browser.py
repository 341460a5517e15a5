"""Browsers with their push service, by libraries of others: http_ece decrypts, PyJWT verifies. Each line is an order, answered
by a line.

{"subscribe": <endpoint>} answers what `PushSubscription.toJSON()` says; {"receive": <endpoint>, "origin", "body" (base64),
"authorization"} answers what the service worker reads, and what the push service learns.
"""

import base64
import json
import os
import sys

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def subscribe(endpoint):
    key, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    browsers[endpoint] = (key, auth)
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64url(point), "auth": base64url(auth)}
    return {"endpoint": endpoint, "expirationTime": None, "keys": keys}


def receive(endpoint, origin, body, authorization):
    key, auth = browsers[endpoint]
    body = base64.b64decode(body)
    text = http_ece.decrypt(body, private_key=key, auth_secret=auth, version="aes128gcm")
    scheme, rest = authorization.split(" ", 1)
    members = dict(member.strip().split("=", 1) for member in rest.split(","))
    point = base64.urlsafe_b64decode(members["k"] + "=")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    claims = jwt.decode(members["t"], public, algorithms=["ES256"], audience=origin)
    return {"scheme": scheme, "key": members["k"], "claims": claims, "bytes": len(body), "message": json.loads(text)}


browsers = {}
for line in sys.stdin:
    asked = json.loads(line)
    if "subscribe" in asked:
        answer = subscribe(asked["subscribe"])
    else:
        answer = receive(asked["receive"], asked["origin"], asked["body"], asked["authorization"])
    print(json.dumps(answer), flush=True)
