"""A small OpenID Connect provider on a socket: it signs whatever the test tells it to say."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from support_web import free_port, wait_for

CLIENT, SECRET = "hounsfield", "a secret of the client"


class Provider:
    """`claims`: what it says of the user, over what is right. `lie`: what it does wrong."""

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        self.claims: dict[str, Any] = {}
        self.lie = ""
        self.asked: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._describe),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="error"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()))

    def __enter__(self) -> Provider:
        self._thread.start()
        wait_for(lambda: self._server.started, "the provider listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    async def _describe(self, request: Request) -> Response:
        issuer = "https://elsewhere.example" if self.lie == "issuer" else self.issuer
        token = "http://192.0.2.1/token" if self.lie == "endpoint" else f"{self.issuer}/token"
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": token,
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def _authorize(self, request: Request) -> Response:
        """The user is always willing."""
        query = dict(request.query_params)
        self.asked.append(query)
        code = f"code-{len(self.asked)}"
        self._codes[code] = query
        return RedirectResponse(f"{query['redirect_uri']}?code={code}&state={query['state']}", 302)

    async def _keys(self, request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        # each part as a form's value: RFC 6749 2.3.1
        basic = base64.b64encode(f"{CLIENT}:{quote_plus(SECRET)}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            return JSONResponse({"error": "invalid_client"}, 401)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if asked["redirect_uri"] != form.get("redirect_uri"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"token_type": "Bearer", "access_token": "x", "id_token": self._signed(asked)})

    def _signed(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "user-1",
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            "preferred_username": "jane",
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        match self.lie:
            case "key":
                return jwt.encode({"alg": "RS256", "kid": "first"}, claims, RSAKey.generate_key(2048))
            case "none":
                unsigned = jwt.encode({"alg": "RS256"}, claims, self.key).split(".")[1]
                head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
                return f"{head}.{unsigned}."
            case "hmac":  # with the public key, or our secret, as if it were a shared one
                return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
            case "missing":
                return ""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
