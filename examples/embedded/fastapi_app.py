"""A FastAPI application with a presence server in the same process. Start it with `uvicorn fastapi_app:app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from presenced import BadParameter, BadUserId, ChangesLost, Presence, PresenceServer, Settings

FRIENDS = {"ada": ["bo", "eve"]}


async def presence_server(request: Request) -> PresenceServer:
    server: PresenceServer = request.app.state.presence
    return server


# Path operations must be `async def`: FastAPI runs others in threads, where the server cannot be called.
Server = Annotated[PresenceServer, Depends(presence_server)]


async def log_changes(server: PresenceServer) -> None:
    """Follow all changes. A program that stores them would also store the position."""
    while True:
        try:
            async for change in server.changes():
                print(f"{change.user_id}: {change.was} -> {change.status}", flush=True)
            return  # the server has stopped
        except ChangesLost:  # this task was too slow
            print(f"{server.counts().online_users} users are online", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks, PresenceServer(Settings(port=3001)) as server:
        app.state.presence = server
        tasks.create_task(log_changes(server))
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(BadUserId)
@app.exception_handler(BadParameter)
async def bad_request(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


@app.get("/users/{user_id}/friends")
async def friends(user_id: str, server: Server) -> list[Presence]:
    """Return the friends with their presence, as this user may see it."""
    return server.presences(FRIENDS.get(user_id, []), viewer=user_id)


@app.put("/users/{user_id}/meeting")
async def start_meeting(user_id: str, minutes: float, server: Server) -> Presence:
    """Show the user as busy until the meeting ends."""
    return server.set_claim(user_id, "meeting", "busy", text="In a meeting", expires_in=minutes * 60)


@app.post("/users/{user_id}/logout")
async def log_out(user_id: str, server: Server) -> int:
    """Close all connections of the user."""
    return server.disconnect(user_id)
