"""The HTTP API for backends: `/api/v1`, and below `/api` what was there first."""

from __future__ import annotations

from starlette.routing import Mount, Router

from presenced.http.api.dispatch import routes
from presenced.http.api.endpoint import Api
from presenced.http.api.routes import ENDPOINTS, TOKENS


def api_mount(api: Api) -> Mount:
    """All of it."""
    v1 = Router(routes(api, ENDPOINTS), redirect_slashes=False)
    first = routes(api, TOKENS)
    return Mount("/api", app=Router([Mount("/v1", app=v1), *first], redirect_slashes=False))
