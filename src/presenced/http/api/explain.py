"""Why a user looks as they do."""

from __future__ import annotations

from typing import cast

from presenced.http.api.endpoint import Api, Call
from presenced.http.api.parameters import Nothing, Viewing
from presenced.http.api.records import change_record, claim_record, display_of, json_of
from presenced.http.api.responses import ChoiceRecord, Explained, ExplainedSession, Looks, Pending, Seeing
from presenced.http.api.viewing import checked_viewer
from presenced.presence import explain as core
from presenced.presence.model import Choice, View
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import Chosen, UserRecord


async def explain_user(api: Api, call: Call[Viewing, Nothing]) -> Explained:
    """The whole truth, also of who is invisible; `why` says it in a sentence."""
    viewer = checked_viewer(api, call.query.viewer)
    found = api.application.explain(call.user_id, viewer)
    return Explained(
        wire_user_id(found.user_id),
        found.why,
        _shown(found, api.application.newest_version),
        _looks(found.true),
        [_session(session) for session in found.sessions],
        found.announced,
        [Pending(one.what, one.seconds, one.source) for one in found.pending],
        _choice(found.chosen),
        _choice(found.timed) if found.timed else None,
        [claim_record(claim) for claim in found.claims],
        found.winner,
        _seeing(found.viewer) if found.viewer else None,
        [change_record(change, change.cause) for change in found.changes],
    )


def _shown(found: core.Explanation, newest: int) -> UserRecord:
    return v1.user_record(found.shown, with_cause=True) if found.shown else v1.unknown_user(found.user_id, newest)


def _looks(view: View) -> Looks:
    custom = view.custom
    return Looks(
        view.status, custom.text, custom.emoji, json_of(custom), custom.until_ms, view.devices, display_of(view)
    )


def _session(session: core.SessionExplained) -> ExplainedSession:
    return ExplainedSession(
        session.connection_id,
        session.protocol,
        session.device,
        session.active,
        session.heard,
        session.pinged_in,
        session.times_out_in,
        session.waited_for,
        session.resumable,
        session.rooms,
    )


def _choice(choice: Choice) -> ChoiceRecord:
    custom, status = choice.custom, cast(Chosen, choice.status.value if choice.status else "auto")
    return ChoiceRecord(status, custom.text, custom.emoji, json_of(custom), custom.until_ms)


def _seeing(viewer: core.Visibility) -> Seeing:
    return Seeing(wire_user_id(viewer.user_id), viewer.may_see, viewer.watches, viewer.rule, viewer.roles)
