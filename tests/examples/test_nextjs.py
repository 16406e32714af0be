"""`examples/nextjs`: two people in two browsers, the built application, and the real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from standardwebhooks.webhooks import Webhook
from tests.support.documents import ROOT
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.program import Program, until

from presenced.config.settings import Settings
from presenced.webhooks.signing import new_secret

EXAMPLE = ROOT / "examples/nextjs"
CLIENT = ROOT / "clients/js"
PASSWORD = "presence"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECORD = """(name) => {
  const row = [...document.querySelectorAll("li")].find((item) => item.textContent.includes(name));
  const dot = row.querySelector(".presenced-dot");
  window.statuses = [dot.dataset.status];
  new MutationObserver(() => window.statuses.push(dot.dataset.status)).observe(dot, { attributes: true });
}"""
"""Records each status that the page shows of a person, however briefly."""


def run(*command: str | Path, folder: Path = EXAMPLE, **environ: str) -> None:
    # Only migrations use Prisma's engine. Naming one prevents Prisma from downloading it.
    offline = {"PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1", "NEXT_TELEMETRY_DISABLED": "1"}
    environment = {**os.environ, **offline, "CI": "1", **environ}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Application(NamedTuple):
    """The example, set up by its own script, and running."""

    url: str
    server: ServerProcess
    environ: dict[str, str]
    database: Path

    def person(self, user_id: str) -> tuple[datetime | None, int]:
        """Return what the webhook has stored of a person: last seen, and the version of the newest event."""
        query = 'SELECT "lastSeen", "presenceVersion" FROM "Person" WHERE "id" = ?'
        with closing(sqlite3.connect(self.database)) as database:
            seen, version = database.execute(query, [user_id]).fetchone()
        return seen and datetime.fromisoformat(seen), version

    def deliver(self, secret: str, body: str) -> int:
        """Send a webhook as presenced does, and return the status of the response."""
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_1", now, body),
        }
        return httpx.post(f"{self.url}api/webhooks/presence", content=body, headers=headers).status_code


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Build the application in its folder, because `node_modules` cannot be elsewhere, and run it in another one."""
    run("npm", "run", "build", folder=CLIENT)
    run("node_modules/.bin/prisma", "generate")
    run("npm", "run", "build")
    folder = tmp_path_factory.mktemp("people")
    for name in (".env.example", "presenced.example.toml"):
        shutil.copy(EXAMPLE / name, folder)
    shutil.copytree(EXAMPLE / "prisma", folder / "prisma")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run("node", EXAMPLE / "scripts/setup.mjs", folder=folder, PATH=path)
    environ = dict(re.findall(r"^(\w+)=(.+)$", (folder / ".env").read_text("utf-8"), re.MULTILINE))
    run("presenced", "config", "show", folder=folder, PATH=path)  # the server accepts `presenced.toml` as it is
    settings: dict[str, Any] = tomllib.loads((folder / "presenced.toml").read_text("utf-8"))
    assert settings.pop("webhook_urls") == ["http://127.0.0.1:3000/api/webhooks/presence"]
    port = free_port()
    secrets = {
        "PRESENCED_API_KEYS": settings.pop("api_keys")[0],
        "PRESENCED_WEBHOOK_SECRETS": settings.pop("webhook_secrets"),
        "PRESENCED_WEBHOOK_URLS": f"http://127.0.0.1:{port}/api/webhooks/presence",
        "PRESENCED_DATA_DIR": str(folder / "presenced-data"),
    }
    with ExitStack() as running:
        server = running.enter_context(ServerProcess(secrets, **settings))
        environ["PRESENCE_URL"] = server.url.rstrip("/")
        database = folder / "people.db"
        environ["DATABASE_URL"] = f"file:{database}"
        command = ["node", "node_modules/next/dist/bin/next", "start", "--port", str(port)]
        program = Program(command, EXAMPLE, {**environ, "NEXT_TELEMETRY_DISABLED": "1"})
        running.enter_context(program).expect("Ready in")
        yield Application(f"http://localhost:{port}/", server, environ, database)


@pytest.fixture
def sign_in(browser: Browser, application: Application) -> Iterator[SignIn]:
    """Return `sign_in(name)`, which returns the page of a person in a browser of their own."""
    with ExitStack() as contexts:
        yield SignIn(browser, application.url, contexts)


class SignIn:
    """Opens browsers for people."""

    def __init__(self, browser: Browser, url: str, contexts: ExitStack) -> None:
        self._browser = browser
        self._url = url
        self._contexts = contexts

    def __call__(self, name: str, password: str = PASSWORD) -> Page:
        page = self._contexts.enter_context(self._browser.new_context()).new_page()
        page.goto(self._url)
        page.get_by_label("Person").select_option(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        if password == PASSWORD:
            expect(page.get_by_role("heading", name="Friends")).to_be_visible()
            expect_current(page)
        return page


def expect_current(page: Page) -> None:
    """Wait until the page is connected and knows everything."""
    expect(page.locator("[data-stale]")).to_have_attribute("data-stale", "false")


def rows(page: Page) -> Locator:
    """Return the people of the page. Next.js keeps pages that the user has left, hidden."""
    return page.locator("li").filter(visible=True)


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has_text=name)


def expect_status(page: Page, name: str, status: str) -> None:
    expect(row(page, name).locator(".presenced-dot")).to_have_attribute("data-status", status)


def choose(page: Page, status: str, text: str = "", expires: str = "") -> None:
    """Choose a status with the menu, until the person changes it unless `expires` says otherwise."""
    page.locator("summary").click()
    page.get_by_label(status, exact=True).check()
    page.get_by_label("Text").fill(text)
    if expires:
        page.get_by_label("Keep it").select_option(expires)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("details")).not_to_have_attribute("open", "")


def cookies(context: BrowserContext) -> dict[str, str]:
    return {str(cookie["name"]): str(cookie["value"]) for cookie in context.cookies()}


def test_the_first_response_has_the_dots_and_then_one_ticket_opens_one_connection(
    browser: Browser, application: Application, sign_in: SignIn
) -> None:
    ada = sign_in("Ada Lovelace")
    for name in ("Alan Turing", "Grace Hopper"):
        expect_status(ada, name, "offline")
    sign_in("Grace Hopper")
    expect_status(ada, "Grace Hopper", "online")

    with browser.new_context(java_script_enabled=False, storage_state=ada.context.storage_state()) as context:
        html = context.new_page()
        html.goto(application.url)
        expect(html.locator("li")).to_have_text([re.compile("Alan Turing"), re.compile("Grace Hopper")])
        expect(row(html, "Grace Hopper")).to_be_visible()
        assert [dot.get_attribute("data-status") for dot in html.locator("li .presenced-dot").all()] == [
            "offline",
            "online",
        ]

    posts, sockets = [], []
    ada.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    ada.on("websocket", lambda socket: sockets.append(socket.url))
    ada.reload()
    expect_current(ada)
    assert (posts, len(sockets)) == ([application.url], 1)


def test_a_chosen_status_shows_with_its_text_and_an_invisible_person_is_offline(sign_in: SignIn) -> None:
    ada, grace = sign_in("Ada Lovelace"), sign_in("Grace Hopper")
    choose(grace, "Busy", "writing a compiler", "for 30 minutes")
    expect_status(ada, "Grace Hopper", "busy")
    expect(row(ada, "Grace Hopper")).to_contain_text("writing a compiler")
    choose(grace, "Invisible")
    expect_status(ada, "Grace Hopper", "offline")
    expect(grace.locator("summary")).to_have_accessible_name("My status: invisible")
    choose(grace, "Automatic")
    expect_status(ada, "Grace Hopper", "online")


def test_a_status_keeps_its_end_while_the_person_does_not_change_it(sign_in: SignIn) -> None:
    grace = sign_in("Grace Hopper")
    period = grace.get_by_label("Keep it")

    def shown_end() -> str:
        """Return the chosen period, as the menu shows it when it is opened again."""
        grace.locator("summary").click()
        shown = str(period.evaluate("(element) => element.selectedOptions[0].textContent"))
        grace.locator("summary").click()
        return shown

    choose(grace, "Away", "", "for 30 minutes")
    expect(grace.locator("summary")).to_have_accessible_name("My status: away")
    end = shown_end()
    assert re.fullmatch(r"until \w{3} \d+:\d\d\s[AP]M", end)
    choose(grace, "Away", "at lunch")
    expect(period.locator("option").first).to_have_text(end)
    grace.reload()
    expect_current(grace)
    assert (shown_end(), grace.get_by_label("Text").input_value()) == (end, "at lunch")
    choose(grace, "Automatic", "", "until I change it")
    expect(period.locator("option").first).to_have_text("until I change it")


def test_nobody_flickers_when_the_server_is_killed_and_started_again(application: Application, sign_in: SignIn) -> None:
    ada, grace = sign_in("Ada Lovelace"), sign_in("Grace Hopper")
    expect_status(ada, "Grace Hopper", "online")
    ada.evaluate(RECORD, "Grace Hopper")
    application.server.kill()
    for page in (ada, grace):
        expect(page.locator("[data-stale]")).to_have_attribute("data-stale", "true")
        for dot in page.locator(".presenced-dot").filter(visible=True).all():  # with that of the header
            expect(dot).to_have_css("opacity", "0.5")
    expect(ada.get_by_role("status")).to_contain_text("No connection")
    application.server.start()
    for page in (ada, grace):
        expect_current(page)
    choose(grace, "Away")
    expect_status(ada, "Grace Hopper", "away")
    assert ada.evaluate("statuses") == ["online", "away"]
    choose(grace, "Automatic")
    expect_status(ada, "Grace Hopper", "online")


def test_the_webhook_stores_when_a_person_was_last_seen(application: Application, sign_in: SignIn) -> None:
    ada, linus = sign_in("Grace Hopper"), sign_in("Linus Pauling")
    expect_status(ada, "Linus Pauling", "online")
    until(lambda: application.person("linus")[0] is not None)
    before = application.person("linus")
    linus.context.close()
    expect_status(ada, "Linus Pauling", "offline")
    expect(row(ada, "Linus Pauling")).to_contain_text("just now")
    until(lambda: application.person("linus")[1] > before[1])
    seen, version = application.person("linus")
    assert seen is not None
    assert before[0] is not None
    assert seen >= before[0]

    secret = application.environ["PRESENCE_WEBHOOK_SECRET"]

    def body(version: int) -> str:
        data = f'{{"userId": "linus", "status": "offline", "version": {version}, "lastSeen": 1000}}'
        event = f'{{"id": "msg_2", "type": "user.offline", "timestamp": "2026-01-01T00:00:00Z", "data": {data}}}'
        return f'{{"type": "presence.batch", "data": {{"events": [{event}]}}}}'

    assert application.deliver(new_secret(), body(version + 1)) == 401
    assert application.deliver(secret, body(version)) == 204
    assert application.person("linus") == (seen, version), "an event that was applied already changes nothing"
    assert application.deliver(secret, body(version + 1)) == 204
    assert application.person("linus") == (datetime.fromtimestamp(1, UTC), version + 1)


def test_people_meet_in_the_lobby_whether_they_are_friends_or_not(sign_in: SignIn) -> None:
    ada, linus = sign_in("Ada Lovelace"), sign_in("Linus Pauling")
    for page in (ada, linus):
        page.get_by_role("link", name="Lobby").click()
    for page in (ada, linus):
        expect(rows(page)).to_have_count(2)
        for name in ("Ada Lovelace", "Linus Pauling"):
            expect_status(page, name, "online")
            expect(page.locator("main").get_by_role("img", name=f"{name}, Online")).to_have_text(re.compile("AL|LP"))
    ada.get_by_role("link", name="Friends").click()
    expect(rows(linus)).to_have_count(1)


def test_signing_out_ends_all_tabs_of_the_browser_and_leaves_other_devices_alone(
    application: Application, sign_in: SignIn
) -> None:
    ada, grace, phone = sign_in("Ada Lovelace"), sign_in("Grace Hopper"), sign_in("Grace Hopper")
    tab = grace.context.new_page()
    tab.goto(application.url)
    expect_current(tab)
    expect_status(ada, "Grace Hopper", "online")
    ada.evaluate(RECORD, "Grace Hopper")
    with phone.expect_websocket():  # the phone gets another ticket
        grace.locator("summary").click()
        grace.get_by_role("button", name="Sign out").click()
    expect(grace.get_by_role("heading", name="Sign in")).to_be_visible()
    expect_current(phone)
    assert ada.evaluate("statuses") == ["online"], "the phone is still signed in"
    expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
    phone.locator("summary").click()
    phone.get_by_role("button", name="Sign out").click()
    expect_status(ada, "Grace Hopper", "offline")


def test_only_people_who_are_signed_in_get_tickets(application: Application, sign_in: SignIn) -> None:
    expect(sign_in("Ada Lovelace", "guess").locator("form [role=alert]")).to_have_text("The password is wrong.")
    session = cookies(sign_in("Ada Lovelace").context)["session"]
    session_id, _, signature = session.partition(".")
    forged = {"": 401, session: 200, f"{session_id}x.{signature}": 401, f"{session_id}.{signature[::-1]}": 401}
    for value, status in forged.items():
        response = httpx.post(f"{application.url}presence-token", cookies={"session": value}, trust_env=False)
        assert response.status_code == status, value
        assert response.text.startswith("ticket_") == (status == 200)


def test_the_files_of_earlier_steps_of_the_tutorial_have_the_right_types(tmp_path: Path) -> None:
    """Each step is compiled over the files of the example. So is the component in its README."""
    run("node_modules/.bin/prisma", "generate")
    page = (ROOT / "docs/tutorial/nextjs-app.md").read_text("utf-8")
    blocks = re.findall(r"<!-- test: file (step-\d/\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    assert {name.partition("/")[0] for name, _ in blocks} == {"step-1", "step-2"}
    (component,) = re.findall(r"```tsx\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)
    for name, code in [*blocks, ("readme/presence.tsx", component)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code, "utf-8")
    (tmp_path / "node_modules").symlink_to(EXAMPLE / "node_modules")
    own = {"paths": {"@/*": [f"{tmp_path}/step-2/*", f"{EXAMPLE}/*"]}, "incremental": False, "rootDir": "/"}
    files = [*(name for name, _ in blocks), "readme/presence.tsx"]
    options = {"extends": str(EXAMPLE / "tsconfig.json"), "compilerOptions": own, "files": files, "include": []}
    (tmp_path / "tsconfig.json").write_text(json.dumps(options), "utf-8")
    run("node_modules/.bin/tsc", "-p", tmp_path)


def test_the_tutorial_configures_webhooks_once_it_has_a_route_for_them(tmp_path: Path) -> None:
    """Before that, the server would retry at longer and longer intervals. Finally, its settings are the example's."""
    page = (ROOT / "docs/tutorial/nextjs-app.md").read_text("utf-8")
    before, after = page.split("app/api/webhooks/presence/route.ts -->")
    (copy,) = re.findall(r"^grep .*$", before, re.MULTILINE)
    (append,) = re.findall(r"^echo .*>> presenced\.toml$", after, re.MULTILINE)
    script = f"example={EXAMPLE}\n{copy}\ncp presenced.example.toml presenced.toml\n{append}"
    run("sh", "-ec", script, folder=tmp_path)
    complete = tomllib.loads((EXAMPLE / "presenced.example.toml").read_text("utf-8"))
    assert tomllib.loads((tmp_path / "presenced.toml").read_text("utf-8")) == complete
    without_urls = {name: value for name, value in complete.items() if name != "webhook_urls"}
    assert tomllib.loads((tmp_path / "presenced.example.toml").read_text("utf-8")) == without_urls
    Settings.model_validate(without_urls | {"api_keys": [f"admin:sha256:{'0' * 64}"], "webhook_secrets": new_secret()})


def test_the_tutorial_contains_the_files_of_the_example_unchanged() -> None:
    page = (ROOT / "docs/tutorial/nextjs-app.md").read_text("utf-8")
    shown = re.findall(r"<!-- test: file people/(\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    assert len(shown) >= 5
    for name, code in shown:
        assert code == (EXAMPLE / name).read_text("utf-8"), name
