"""Lines of the log: JSON where nobody looks, text on a terminal, always with an action."""

from __future__ import annotations

import io
import json
import logging

from kronforce.telemetry import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_action_time_and_level() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    logs.logger("keys").info("key made", action="key.created", key="ci")
    (line,) = lines(out)
    assert line["event"] == "key made"
    assert (line["action"], line["component"], line["key"]) == ("key.created", "keys", "ci")
    assert (line["level"], str(line["timestamp"])[-1]) == ("info", "Z")


def test_on_a_terminal_a_line_is_text() -> None:
    out = Terminal()
    logs.configure("info", stream=out)
    logs.logger("keys").info("key made", action="key.created")
    assert "key made" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_what_is_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    logs.configure("warning", stream=out)
    logs.logger("api").info("hidden", action="x")
    logging.getLogger("kronforce.engine").info("hidden too")
    assert out.getvalue() == ""


def test_rooms_that_use_the_standard_loggers_keep_their_action() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    logging.getLogger("kronforce.engine.agents.sessions").info(
        "online", extra={"action": "agent.online"}
    )
    (line,) = lines(out)
    assert (line["event"], line["action"]) == ("online", "agent.online")


def test_libraries_are_heard_when_something_is_wrong() -> None:
    out = io.StringIO()
    logs.configure("debug", stream=out)
    logging.getLogger("grpc").info("chatter")
    logging.getLogger("grpc").warning("trouble %s", 7)
    (line,) = lines(out)
    assert (line["event"], line["action"]) == ("trouble 7", "library")


def test_an_exception_is_logged_whole() -> None:
    out = io.StringIO()
    logs.configure("info", stream=out)
    try:
        raise ValueError("why")
    except ValueError:
        logs.logger("api").error("failed", action="call.fault", exc_info=True)
    (line,) = lines(out)
    assert "ValueError: why" in str(line["exception"])
