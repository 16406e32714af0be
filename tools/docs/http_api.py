"""The table of endpoints in docs/reference/http-api.md."""

from __future__ import annotations

from tools.docs.descriptions import summary_and_description
from tools.docs.markdown import table

from presenced.http.api.routes import ENDPOINTS

BEGIN, END = "<!-- endpoints: made by `make docs` -->", "<!-- end of endpoints -->"


def endpoints(text: str) -> str:
    """Return the document with a current table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [
        [f"`{e.method} {e.path.replace('{user_id}', '{id}')}`", e.scope, summary_and_description(e.handler)[0]]
        for e in ENDPOINTS
    ]
    return f"{before}{BEGIN}\n{table(['endpoint', 'scope', 'what'], rows)}\n{END}{after}"
