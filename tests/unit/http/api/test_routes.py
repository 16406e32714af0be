"""The list of endpoints."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from presenced.http import api
from presenced.http.api.endpoint import Endpoint
from presenced.http.api.routes import ENDPOINTS


def test_every_endpoint_is_unique_and_documented() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({endpoint.handler.__name__ for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        assert endpoint.handler.__doc__
        assert endpoint.takes_body is (endpoint.method in ("POST", "PUT")) or endpoint.path.endswith("/disconnect")


def test_every_decorated_function_has_a_route() -> None:
    modules = [import_module(f"presenced.http.api.{module.name}") for module in pkgutil.iter_modules(api.__path__)]
    found = {one.name for module in modules for one in vars(module).values() if isinstance(one, Endpoint)}
    assert found == {endpoint.name for endpoint in ENDPOINTS}
