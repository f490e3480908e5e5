"""The two open routes, as API Gateway calls them: pages for people, JSON for programs, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.callbacks.signer import CONFIRM_SECONDS
from hephaestus.errors import StoreUnavailable
from hephaestus.handlers.http.api import ROUTES
from hephaestus.handlers.http.callbacks import FORMS, MAX_FORM, MAX_PAYLOAD
from hephaestus.handlers.http.pages import POLICY, STYLE
from hephaestus.runtime.clock import SystemClock
from hephaestus.steps import WaitForEvent
from hephaestus.testing import signer
from tests.integration.deployment import SAMPLE, Deployment, deploy, of_life, raising, sample

if TYPE_CHECKING:
    import io

BROWSER: Final = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
FORM: Final = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
JSON: Final = {"Accept": "application/json", "Content-Type": "application/json"}
EMPTY: Final = ("0", "0.0", "false", "[]", '""', "{}", "null")  # JSON that Python takes for false
HOSTILE: Final = "<script>alert('x')</script>&\"'é☃"


@dataclass(frozen=True)
class Answer:
    """What API Gateway was told to answer."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def kind(self) -> str:
        """The type of the problem, if it is a problem document."""
        return str(json.loads(self.body)["type"]).removeprefix("/problems/")


def call(  # noqa: PLR0913, PLR0917 - what a request is made of
    deployment: Deployment,
    token: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    method: str | None = None,
) -> Answer:
    """Open a link, or send something to it."""
    event = sample("api-callback-show")
    event.update(path=f"/callbacks/{token}", httpMethod=method or ("GET" if body is None else "POST"), body=body)
    event.update(headers=headers or {}, multiValueHeaders=None, queryStringParameters=query)
    event["requestContext"]["path"] = f"/prod/callbacks/{token}"
    answer = deployment.invoke("callback", event)
    named = {name.lower(): ", ".join(values) for name, values in answer["multiValueHeaders"].items()}
    return Answer(answer["statusCode"], named, answer["body"])


def asked(deployment: Deployment, **change: Any) -> dict[str, str]:
    """The sample order, waiting for an approver who was sent links: their tokens, by event."""
    deployment.started(approver="boss@example.com", show_links=True, **change)
    found = deployment.runner.get(SAMPLE).steps["send_receipt"].results["links"]
    return {event: link.rsplit("/", 1)[-1] for event, link in found.items()}


def confirmation(page: Answer) -> str:
    """What the page's form carries."""
    found = re.search('name="confirmation" value="([^"]+)"', page.body)
    assert found is not None, page.body
    return found[1]


def press(deployment: Deployment, token: str) -> Answer:
    """Open a link and press its button."""
    form = urlencode({"confirmation": confirmation(call(deployment, token, headers=BROWSER))})
    return call(deployment, token, form, FORM)


def log_length(deployment: Deployment) -> int:
    """How many log entries the sample order has."""
    return len(deployment.runner.history(SAMPLE))


class TestPeople:
    """A page, a button, an answer."""

    def test_a_page_shows_what_would_happen_and_nothing_happens(self, deployment: Deployment) -> None:
        tokens = asked(deployment)
        before = log_length(deployment)
        for accept in (BROWSER, {}, {"Accept": "*/*"}):
            page = call(deployment, tokens["approved"], headers=accept)
            assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            shown_to_be = ("Confirm: approved", SAMPLE, "OrderFlow", "approval", "Nothing has happened yet")
            for shown in (*shown_to_be, "<dt>by</dt><dd>boss@example.com</dd>"):
                assert shown in page.body
        assert log_length(deployment) == before

    def test_its_button_decides_once(self, deployment: Deployment) -> None:
        tokens = asked(deployment)
        done = press(deployment, tokens["approved"])
        assert (done.status, "Recorded: approved" in done.body) == (200, True)
        deployment.pump()
        ended = deployment.runner.get(SAMPLE)
        assert (ended.status, ended.steps["approval"].results) == ("completed", {"by": "boss@example.com"})
        again = call(deployment, tokens["approved"], headers=BROWSER)
        assert (again.status, "Link already used" in again.body) == (409, True)

    def test_a_double_click_is_told_that_its_answer_is_recorded(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        form = urlencode({"confirmation": confirmation(call(deployment, token, headers=BROWSER))})
        first, second = (call(deployment, token, form, FORM) for _ in range(2))
        assert (first.status, second.status) == (200, 409)
        assert "its answer &#x27;approved&#x27; is recorded" in second.body

    @pytest.mark.parametrize("body", ["", "confirmation=", "confirmation=1.AAAA", "other=1", "%ff=%fe", "&" * 64])
    def test_a_form_that_is_not_the_pages_own_decides_nothing(self, deployment: Deployment, body: str) -> None:
        token = asked(deployment)["approved"]
        before = log_length(deployment)
        for kind in FORMS:
            refused = call(deployment, token, body, {**FORM, "Content-Type": f"{kind}; charset=utf-8"})
            assert (refused.status, "Not confirmed" in refused.body) == (403, True)
        assert log_length(deployment) == before

    def test_the_form_of_one_link_does_not_confirm_another(self, deployment: Deployment) -> None:
        tokens = asked(deployment)
        form = urlencode({"confirmation": confirmation(call(deployment, tokens["approved"], headers=BROWSER))})
        assert call(deployment, tokens["rejected"], form, FORM).status == 403

    def test_a_page_that_lay_open_for_an_hour_is_opened_again(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = asked(deployment, approval_timeout_seconds=2 * CONFIRM_SECONDS)["approved"]
        form = urlencode({"confirmation": confirmation(call(deployment, token, headers=BROWSER))})
        now = deployment.runner.clock.now()
        monkeypatch.setattr(SystemClock, "now", lambda _: now + CONFIRM_SECONDS * 1000)
        refused = call(deployment, token, form, FORM)
        assert (refused.status, "open the link again" in refused.body) == (403, True)

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
    def test_another_sites_page_decides_nothing(self, deployment: Deployment, site: str) -> None:
        """Not even with a right confirmation, or as JSON."""
        token = asked(deployment)["approved"]
        form = urlencode({"confirmation": confirmation(call(deployment, token, headers=BROWSER))})
        assert call(deployment, token, form, {**FORM, "Sec-Fetch-Site": site}).status == 403
        assert call(deployment, token, "{}", {**JSON, "Sec-Fetch-Site": site}).status == 403
        assert call(deployment, token, headers={**BROWSER, "Sec-Fetch-Site": site}).status == 200, "a mail leads here"

    def test_every_answer_tells_browsers_caches_and_robots_to_keep_out(self, deployment: Deployment) -> None:
        tokens = asked(deployment)
        answers = [
            call(deployment, tokens["approved"], headers=BROWSER),
            call(deployment, "none.such", headers=BROWSER),
            call(deployment, "none.such", "{}", JSON),
            press(deployment, tokens["approved"]),
            call(deployment, tokens["approved"], "{}", JSON),
        ]
        for answer in answers:
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-robots-tag"] == "noindex, nofollow"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["vary"] == "Accept"


class TestPages:
    """What a page is made of."""

    def test_the_policy_allows_one_style_and_a_form_to_the_same_place_and_nothing_else(self) -> None:
        import base64
        import hashlib

        style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
        assert POLICY.split("; ") == [
            "default-src 'none'",
            f"style-src 'sha256-{style}'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]

    def test_a_page_loads_nothing_runs_nothing_and_can_be_used_by_everybody(self, deployment: Deployment) -> None:
        """A language, a title, one heading, a button of a finger's size, a focus that is seen, both schemes."""
        tokens = asked(deployment)
        for page in (
            call(deployment, tokens["approved"], headers=BROWSER),
            press(deployment, tokens["approved"]),
            call(deployment, tokens["approved"], headers=BROWSER),
        ):
            tags = read(page.body)
            assert not {"script", "img", "link", "iframe", "a"} & {name for name, _ in tags}
            assert not [names for _, names in tags if any(name.startswith(("on", "src", "style")) for name in names)]
            assert dict(tags)["html"] == {"lang": "en"}
            assert [name for name, _ in tags].count("h1") == [name for name, _ in tags].count("title") == 1
            assert [name for name, _ in tags].count("main") == 1
            assert f"<style>{STYLE}</style>" in page.body
        for need in ("prefers-color-scheme:dark", ":focus-visible", "min-height:3rem", "max-width:32rem"):
            assert need in STYLE

    @pytest.mark.parametrize(("text", "behind"), [("text", "card"), ("soft", "card"), ("on-act", "act")])
    def test_colours_have_contrast_in_both_schemes(self, text: str, behind: str) -> None:
        """4.5 to 1, as WCAG 2.2 asks for in 1.4.3."""
        schemes = re.findall(r":root\{([^}]*)\}", STYLE)
        assert len(schemes) == 2
        for scheme in schemes:
            colours = dict(re.findall(r"--([\w-]+):(#\w+)", scheme))
            one, other = sorted((luminance(colours[text]), luminance(colours[behind])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (scheme, text)

    def test_nothing_that_comes_from_outside_is_markup(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name of an event may hold anything that prints."""
        wait = WaitForEvent(HOSTILE, name="hold")

        @step
        def ask(ctx: StepContext) -> dict[str, str]:
            return {"link": ctx.callback_token(HOSTILE, payload={HOSTILE: HOSTILE, "more": [HOSTILE]})}

        class Hostile(Workflow, key="hostile"):
            start_at = ask
            transitions = {ask: {"done": wait}, wait: {HOSTILE: DONE}}

        deployment = deploy(monkeypatch, Hostile)
        deployment.invoke("start", {"workflow": "Hostile", "id": "a"})
        token = deployment.runner.get("hostile::a").steps["ask"].results["link"]
        pages = [call(deployment, token, headers=BROWSER), press(deployment, token)]
        pages.append(call(deployment, token, headers=BROWSER))
        for page in pages:
            assert not {"script", "b"} & {name for name, _ in read(page.body)}, page.body
            assert "&lt;script&gt;" in page.body


def read(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Every tag of a page and its attributes."""
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


def luminance(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2.2, definition)."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class TestPrograms:
    """JSON in, JSON out."""

    def test_a_program_sends_results(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deployment, token = bank(monkeypatch)
        shown = call(deployment, token, headers={"Accept": "application/json"})
        assert (shown.status, shown.headers["content-type"]) == (200, "application/json")
        known = {"id": "bank::a", "step": "booked", "event": "booked"}
        assert json.loads(shown.body).items() >= {**known, "workflow": "Bank"}.items()
        taken = call(deployment, token, json.dumps({"iban": "DE02"}), JSON)
        assert (taken.status, json.loads(taken.body).items() >= known.items()) == (202, True)
        deployment.pump()
        assert deployment.runner.get("bank::a").steps["booked"].results == {"iban": "DE02"}

    @pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Content-Type": "application/json"}])
    def test_a_program_need_not_say_what_it_is(self, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
        """As ``curl -X POST`` does not."""
        deployment, token = bank(monkeypatch)
        assert call(deployment, token, "", headers).status == 202

    def test_what_a_program_prefers_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Strangers get no work done in the request, and see nothing of the instance."""
        deployment, token = bank(monkeypatch)
        taken = call(deployment, token, "{}", {**JSON, "Prefer": "wait=10"})
        assert (taken.status, "preference-applied" in taken.headers) == (202, False)
        assert json.loads(taken.body).keys() == {"id", "step", "event", "expires_at"}
        assert deployment.runner.get("bank::a").status == "waiting"
        deployment.pump()
        assert deployment.runner.get("bank::a").status == "completed"

    @pytest.mark.parametrize(
        ("body", "status", "kind"),
        [
            ("{", 400, "bad-request"),
            ("[" * 100_000 + "]" * 100_000, 413, "payload-too-large"),
            ("[" * 20_000, 400, "bad-request"),
            (json.dumps("x" * MAX_PAYLOAD), 413, "payload-too-large"),
            ('{"x": 1e999}', 400, "bad-request"),
            ('{"x": "\\ud800"}', 400, "bad-request"),
        ],
    )
    def test_a_body_that_is_none_is_refused_and_the_link_is_not_used_up(
        self, monkeypatch: pytest.MonkeyPatch, body: str, status: int, kind: str
    ) -> None:
        deployment, token = bank(monkeypatch)
        refused = call(deployment, token, body, JSON)
        assert (refused.status, refused.kind) == (status, kind)
        assert refused.headers["content-type"] == "application/problem+json"
        at_the_bound = json.dumps("x" * (MAX_PAYLOAD - 2))
        assert call(deployment, token, at_the_bound, JSON).status == 202

    def test_results_that_the_link_carries_cannot_be_replaced(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        refused = call(deployment, token, '{"by": "Eve"}', JSON)
        assert (refused.status, refused.kind) == (400, "bad-request")
        assert call(deployment, token, "", JSON).status == 202

    @pytest.mark.parametrize("sent", EMPTY)
    def test_whatever_is_acknowledged_is_the_steps_result(self, monkeypatch: pytest.MonkeyPatch, sent: str) -> None:
        """Also what Python takes for false."""
        deployment, token = bank(monkeypatch)
        assert call(deployment, token, sent, JSON).status == 202
        deployment.pump()
        value = json.loads(sent)
        kept = value if isinstance(value, dict) else {} if value is None else {"value": value}
        assert deployment.runner.get("bank::a").steps["booked"].results == kept

    @pytest.mark.parametrize("sent", EMPTY)
    def test_no_body_at_all_goes_with_a_link_that_brings_its_own(self, deployment: Deployment, sent: str) -> None:
        token = asked(deployment)["approved"]
        refused = call(deployment, token, sent, JSON)
        assert (refused.status, refused.kind) == (400, "bad-request")
        assert call(deployment, token, " ", JSON).status == 202

    @pytest.mark.parametrize(
        "query",
        [{"hearbeat": "1"}, {"Heartbeat": "1"}, {"heartbeat": "true", "x": "1"}]
        + [{"heartbeat": value} for value in ("", "yes", "2", "on", "null", "true,true", "tru\u00e9")],
    )
    def test_a_query_that_is_misspelt_does_not_use_the_link_up(
        self, deployment: Deployment, query: dict[str, str]
    ) -> None:
        """A heartbeat that is none would be the answer."""
        token = asked(deployment, approval_heartbeat_seconds=600)["approved"]
        before = log_length(deployment)
        for headers in (JSON, FORM):
            assert call(deployment, token, "", headers, query).status == 400
        assert log_length(deployment) == before
        assert call(deployment, token, "", JSON).status == 202

    @pytest.mark.parametrize("value", ["false", "0", "False"])
    def test_what_is_no_heartbeat_is_an_answer(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        deployment, token = bank(monkeypatch)
        assert call(deployment, token, '{"a": 1}', JSON, {"heartbeat": value}).status == 202
        deployment.pump()
        assert deployment.runner.get("bank::a").steps["booked"].results == {"a": 1}

    @pytest.mark.parametrize("sent", [*EMPTY, '{"a": 1}', "confirmation=1"])
    def test_a_heartbeat_with_a_body_is_refused(self, deployment: Deployment, sent: str) -> None:
        """Its results would be lost."""
        token = asked(deployment, approval_heartbeat_seconds=600)["approved"]
        before = log_length(deployment)
        for headers in (JSON, FORM):
            assert call(deployment, token, sent, headers, {"heartbeat": "true"}).status == 400
        assert log_length(deployment) == before
        assert call(deployment, token, "\n", JSON, {"heartbeat": "1"}).status == 200

    def test_a_program_that_sends_a_form_is_told_what_to_send(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``curl -d`` calls everything a form."""
        deployment, token = bank(monkeypatch)
        curl = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        refused = call(deployment, token, '{"iban": "DE02"}', curl)
        assert (refused.status, refused.kind) == (403, "not-confirmed")
        assert "Content-Type: application/json" in json.loads(refused.body)["detail"]
        assert call(deployment, token, "x" * (MAX_FORM + 1), curl).status == 413

    def test_a_heartbeat_by_token_puts_the_alarm_off_and_does_not_use_the_link(self, deployment: Deployment) -> None:
        token = asked(deployment, approval_heartbeat_seconds=600)["approved"]
        alarm = deployment.runner.get(SAMPLE).wake_at
        assert alarm is not None
        beat = call(deployment, token, "", JSON, {"heartbeat": "true"})
        assert (beat.status, json.loads(beat.body)["step"]) == (200, "approval")
        later = deployment.runner.get(SAMPLE).wake_at
        assert later is not None
        assert later > alarm
        assert call(deployment, token, "", JSON).status == 202
        late = call(deployment, token, "", JSON, {"heartbeat": "true"})
        assert (late.status, late.kind) == (409, "link-used"), "a link that is used up shows no life either"

    def test_a_heartbeat_that_nobody_waits_for_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deployment, token = bank(monkeypatch)
        refused = call(deployment, token, "", JSON, {"heartbeat": "true"})
        assert (refused.status, refused.kind) == (422, "unexpected-event")


@pytest.mark.parametrize(
    ("method", "route"), [(method, route) for route, methods in ROUTES.items() for method in methods]
)
@pytest.mark.parametrize("member", ["queryStringParameters", "multiValueQueryStringParameters"])
def test_no_route_takes_a_query_that_it_does_not_know(
    deployment: Deployment, method: str, route: str, member: str
) -> None:
    """What is misspelt would not be heard, and the call do something else than was meant."""
    token = asked(deployment)["approved"]
    before, listed = log_length(deployment), len(deployment.runner.list().items)
    parts = {"workflow": "OrderFlow", "instance_id": SAMPLE, "token": token, "schedule": "OrderFlow.nightly"}
    path = re.sub(r"<(\w+)>", lambda part: parts[part[1]], route)
    event = sample("api-callback-show")
    event.update(path=path, httpMethod=method, body="{}" if method == "POST" else None, headers=JSON)
    event.update(multiValueHeaders=None, queryStringParameters=None)
    event[member] = {"nothing": ["1"] if member.startswith("multi") else "1"}
    event["requestContext"]["path"] = f"/prod{path}"
    served = {"<token>": "callback", "instances": "start", "events": "resume", "heartbeat": "resume"}
    last = route.rsplit("/", 1)[-1]
    function = served.get(last, "control") if method == "POST" or last == "<token>" else "read"
    answer = deployment.invoke(function, event)
    assert (answer["statusCode"], "'nothing'" in answer["body"]) == (400, True)
    assert (log_length(deployment), len(deployment.runner.list().items)) == (before, listed)


def bank(monkeypatch: pytest.MonkeyPatch) -> tuple[Deployment, str]:
    """A workflow that waits for a program: its token."""
    booked = WaitForEvent("booked", name="booked")

    @step
    def order(ctx: StepContext) -> dict[str, str]:
        return {"token": ctx.callback_token("booked")}

    class Bank(Workflow, key="bank"):
        start_at = order
        transitions = {order: {"done": booked}, booked: {"booked": DONE}}

    deployment = deploy(monkeypatch, Bank)
    deployment.invoke("start", {"workflow": "Bank", "id": "a"})
    return deployment, deployment.runner.get("bank::a").steps["order"].results["token"]


class TestRefusals:
    """Each with a status, a type, and a page that says what to do."""

    def refused(self, deployment: Deployment, token: str, status: int, kind: str, title: str) -> None:
        """The same for whoever opens, confirms or sends."""
        document = call(deployment, token, "{}", JSON)
        assert (document.status, document.kind) == (status, kind), document.body
        assert json.loads(document.body)["instance"] == "/callbacks/{token}"
        shown = call(deployment, token, headers={"Accept": "application/json"})
        assert (shown.status, shown.kind) == (status, kind)
        page = call(deployment, token, headers=BROWSER)
        assert (page.status, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert f"<h1>{title}</h1>" in page.body
        assert 'role="alert"' in page.body
        assert token not in page.body + document.body

    def test_an_altered_link(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        for wrong in (token[:-1], token[1:], "none.such", "%3Cscript%3E"):
            self.refused(deployment, wrong, 403, "link-altered", "Link not valid")

    def test_a_link_of_another_deployment(self, deployment: Deployment) -> None:
        from dataclasses import replace

        asked(deployment)
        link = signer().read(sample("api-callback-show")["pathParameters"]["token"], 0)
        foreign = replace(signer(), audience="elsewhere").token(link)
        self.refused(deployment, foreign, 403, "link-foreign", "Link of another deployment")

    def test_an_expired_link(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        token = asked(deployment, approval_timeout_seconds=60)["approved"]
        now = deployment.runner.clock.now()
        monkeypatch.setattr(SystemClock, "now", lambda _: now + 61_000)
        self.refused(deployment, token, 410, "link-expired", "Link expired")

    def test_a_used_link(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        assert press(deployment, token).status == 200
        self.refused(deployment, token, 409, "link-used", "Link already used")
        deployment.pump()
        self.refused(deployment, token, 409, "link-used", "Link already used")

    def test_a_link_of_a_step_that_moved_on(self, deployment: Deployment) -> None:
        tokens = asked(deployment)
        deployment.runner.resume(SAMPLE, "rejected")
        self.refused(deployment, tokens["approved"], 409, "step-moved-on", "Already decided")
        deployment.pump()
        self.refused(deployment, tokens["approved"], 409, "step-moved-on", "Already decided")

    def test_a_link_of_a_cancelled_instance(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        deployment.runner.cancel(SAMPLE)
        self.refused(deployment, token, 409, "instance-closed", "Instance closed")

    def test_a_link_of_an_earlier_generation(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        deployment.runner.cancel(SAMPLE)
        asked(deployment)
        self.refused(deployment, token, 410, "link-outdated", "Link of an earlier run")

    def test_a_link_of_an_instance_that_is_gone(self, deployment: Deployment) -> None:
        token = sample("api-callback-show")["pathParameters"]["token"]
        self.refused(deployment, token, 404, "instance-not-found", "Instance not found")

    def test_a_deployment_without_links(self, deployment: Deployment) -> None:
        """Whatever is asked, there is nothing; and no error is logged that strangers could cause."""
        from hephaestus.errors import no_signer

        deployment.runner.signer = no_signer
        self.refused(deployment, "any.thing", 404, "no-such-route", "Not found")

    def test_a_store_that_does_not_answer(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        deployment.runner.store.load = raising(StoreUnavailable("the table"))  # type: ignore[method-assign]  # a fault, put in its place
        answer = call(deployment, token, headers=BROWSER)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "the table" not in answer.body

    def test_a_defect(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        deployment.runner.store.load = raising(KeyError("inside"))  # type: ignore[method-assign]  # a fault, put in its place
        answer = call(deployment, token, headers=BROWSER)
        assert (answer.status, "inside" in answer.body) == (500, False)
        assert "4f2c9a1e-0000-4000-8000-000000000001" in answer.body, "the request's id leads to the log"

    def test_other_methods(self, deployment: Deployment) -> None:
        token = asked(deployment)["approved"]
        refused = call(deployment, token, None, JSON, method="DELETE")
        assert (refused.status, refused.kind) == (405, "method-not-allowed")
        assert token not in refused.body


def test_no_token_and_no_confirmation_gets_into_the_log(deployment: Deployment, logs: io.StringIO) -> None:
    """What is used, what is refused and what fails; the log names the link, the instance and the event."""
    tokens = asked(deployment)
    token = tokens["approved"]
    page = call(deployment, token, headers=BROWSER)
    call(deployment, token, "confirmation=1.x", FORM)
    call(deployment, token, "{", JSON)
    call(deployment, token, None, JSON, method="PUT")
    press(deployment, token)
    call(deployment, token, "{}", JSON)
    call(deployment, f"{token}x", "{}", JSON)
    deployment.runner.store.load = raising(KeyError("inside"))  # type: ignore[method-assign]  # a fault, put in its place
    call(deployment, tokens["rejected"], "{}", JSON)
    written = logs.getvalue()
    for secret in (token, tokens["rejected"], token.split(".")[1], confirmation(page)):
        assert secret not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert {"LinkUsed", "NotConfirmed", "LinkAltered"} <= {line.get("problem") for line in lines}
    assert signer().read(token, 0).id in {line.get("link") for line in lines}


def test_the_samples_are_signed_with_the_key_of_tests(deployment: Deployment) -> None:
    deployment.started()
    show, answer = (of_life(sample(name), deployment.life()) for name in ("api-callback-show", "api-callback-answer"))
    page = deployment.invoke("callback", show)
    assert (page["statusCode"], page["body"][:15]) == (200, "<!doctype html>")
    assert deployment.invoke("callback", answer)["statusCode"] == 202
    deployment.pump()
    assert deployment.runner.get(SAMPLE).steps["approval"].results == {"by": "the auditor"}
