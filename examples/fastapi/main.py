"""Backend of an application that shows who is online: tokens for presenced, and a receiver of its webhooks."""

import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.staticfiles import StaticFiles
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

JWT_KEY = os.environ["PRESENCED_JWT_KEY"]
TOKEN_SECONDS = 600
webhook = Webhook(os.environ["PRESENCED_WEBHOOK_SECRETS"])

# Replace these by your own login and your own table.
PASSWORDS = {"ada": "lovelace", "grace": "hopper"}
NAMES = {"ada": "Ada Lovelace", "grace": "Grace Hopper"}
presence: dict[str, dict[str, Any]] = {}

app = FastAPI()


def current_user(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    """Return the id of the user who is logged in."""
    expected = PASSWORDS.get(credentials.username)
    if expected is None or not secrets.compare_digest(credentials.password.encode(), expected.encode()):
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return credentials.username


CurrentUser = Annotated[str, Depends(current_user)]


@app.post("/presence-token")
def presence_token(user: CurrentUser) -> dict[str, str]:
    """Return a token with which the page of this user connects to presenced."""
    now = time.time()  # with its fractions: revocations compare it
    claims = {
        "sub": user,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "presence": {"display": {"name": NAMES[user]}},  # others see this name; the page cannot change it
    }
    return {"token": jwt.encode(claims, JWT_KEY, "HS256")}


@app.post("/presence-events", status_code=204)
async def presence_events(request: Request) -> None:
    """Receive webhooks of presenced."""
    body = await request.body()  # unchanged: JSON that was parsed and encoded again does not verify
    try:
        message = webhook.verify(body, dict(request.headers))
    except WebhookVerificationError:
        raise HTTPException(401) from None
    for event in message["data"].get("events", []):
        data = event["data"]
        if "userId" not in data:
            continue  # about a room
        known = presence.get(str(data["userId"]))
        if known is None or data["version"] > known["version"]:  # events may arrive twice
            presence[str(data["userId"])] = data


@app.get("/online")
def online(user: CurrentUser) -> list[str]:
    """Return the users who are online, as the webhooks reported them."""
    return sorted(user_id for user_id, data in presence.items() if data["status"] != "offline")


@app.get("/login")
def login(user: CurrentUser) -> dict[str, str]:
    """Let the browser ask for a name and a password."""
    return {"user": user}


app.mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True))
