"""Short texts with a grammar: selectors, templates in commands, keys and tokens, signatures."""

from __future__ import annotations

import contextlib
import hashlib
import hmac

from hypothesis import strategies as st

from kronforce.api.paging import read_page
from kronforce.core import ids, names
from kronforce.core.params_text import KeyTemplate, key_problems
from kronforce.core.selector import SelectorError, parse_selector
from kronforce.core.templates.task import compile_task, template_problems
from kronforce.engine.webhooks.bodies import params_in
from kronforce.errors import InvalidArgument
from kronforce.security import keys
from kronforce.security.attempt_tokens import AttemptTokens
from kronforce.security.webhook_signature import WrongSignature, check_signature, signed_content
from kronforce.v1.job_pb2 import ShellTask, Task
from kronforce.v1.job_service_pb2 import ListJobsRequest
from kronforce_agent.enrolment import EnrolmentError, pinned_ca
from tests.fuzz.inputs import ODD_TEXT, blown_up, damaged, damaged_text, words
from tests.fuzz.target import plain

# Selectors.

_SELECTOR = [
    "os",
    "=",
    "!=",
    "==",
    "linux",
    ",",
    "!",
    " in ",
    " notin ",
    "(",
    ")",
    "a,b",
    "fact.os",
]


def _selector(text: str) -> None:
    try:
        parsed = parse_selector(text)
    except SelectorError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017
        return
    assert parse_selector(parsed.text).text == parsed.text
    parsed.matches({"os": "linux"})


# Commands with placeholders.

_SHELL = [
    "{{V}}", "{{params.p}}", "{{", "}}", "echo ", "'", '"', "`", "$(", ")", "$((", "))", "${", "}",
    "<<EOF\n", "<<'EOF'\n", "EOF\n", "\n", ";", "case x in ", "esac", "eval ", "#", "\\", "$'",
    "&&", "sh -c ", "[[ ", " ]]", "<<-\t", "|", "a)",
]  # fmt: skip


def _shell(command: str) -> None:
    # As it comes over the wire.
    task = Task(shell=ShellTask(command=command.encode(errors="replace").decode()))
    wrong = list(template_problems(task.shell))
    if wrong:
        return
    template = compile_task(task)
    template.fill(dict.fromkeys(template.keys, "value"))
    template.fill({})


def _key_template(text: str) -> None:
    if not list(key_problems(text)):
        KeyTemplate(text)


# Tokens of every kind: what was not made here is nothing, and says so.

_JOIN = f"kfj_{'0' * 32}.secret"
_TOKENS = AttemptTokens(b"k" * 32)
_GOOD = [
    _JOIN, f"{_JOIN}.MIIB", "Bearer kf_" + "0" * 43, "kf_" + "0" * 43, _TOKENS.make("e", 7),
    "0190c5a4-7b1e-7c3a-9d2f-0123456789ab", "eyJhIjoxfQ", "WyJhIiwxXQ", "a name", "192.0.2.1/24",
]  # fmt: skip


def _token(text: str) -> None:
    keys.parse_join_token(text)
    keys.is_api_key(text)
    keys.bearer(text)
    ids.from_text(text)
    names.job_name_problem(text)
    _TOKENS.read("another", text)
    with contextlib.suppress(EnrolmentError):
        pinned_ca(text)
    with contextlib.suppress(InvalidArgument):
        read_page(ListJobsRequest(page_token=text.encode(errors="replace").decode()), (str, int))


# Deliveries of webhooks: signature, instant, body.

_SECRET, _NOW = b"s" * 32, 1_790_000_000
_BODY = b'{"params": {"a": 1}}'
_DIGEST = hmac.new(_SECRET, signed_content(str(_NOW), "d", _BODY), hashlib.sha256).hexdigest()
_SIGNATURES = [f"t={_NOW},v1={_DIGEST}", f"sha256={'0' * 64}", f"t={_NOW - 301},v1={_DIGEST}"]
_BODIES = [_BODY, b"[1]", b'{"params": {"b": {"c": [null, 1e3, "\\ud800"]}}, "force": true}', b"{}"]
deliveries = st.tuples(
    damaged_text(_SIGNATURES) | st.sampled_from(_SIGNATURES) | ODD_TEXT,
    damaged(_BODIES) | blown_up([b'{"a":', b"[", b'"a",', b"9", b'{"params":']),
    st.sampled_from(["d", "", "\n", "e" * 1_000]),
    st.integers(0, 3),
    st.none() | st.just(frozenset({"a"})),
)


def _delivery(value: tuple[str, bytes, str, int, frozenset[str] | None]) -> None:
    signature, body, delivery_id, body_as, declared = value
    try:
        known = check_signature(
            _SECRET, signature, body=body, delivery_id=delivery_id, now_secs=_NOW
        )
        assert (signature, body, delivery_id, known[:3]) == (_SIGNATURES[0], _BODY, "d", "v1:")
    except WrongSignature:
        pass
    try:
        params_in(body, body_as, declared)
    except InvalidArgument as error:
        assert error.violations  # noqa: PT017


TARGETS = [
    plain("selector", words(_SELECTOR), _selector),
    plain("shell", words(_SHELL), _shell),
    plain("key_template", words(_SHELL), _key_template),
    plain("tokens", damaged_text(_GOOD) | ODD_TEXT | blown_up(_GOOD), _token),
    plain("deliveries", deliveries, _delivery),
]
