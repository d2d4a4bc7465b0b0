"""Documented paths of what is not built yet: each answers 501 and says so, never 404.

The table shrinks as things are built: once a method of the contract, or whatever else the gateway
serves, has a path, its line here is refused by a test. A caller without a good key learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from kronforce.v1.options_pb2 import RATE_CLASS_AUTHENTICATED, RATE_CLASS_PUBLIC
from kronforce_gateway.failures import Failure
from kronforce_gateway.routes import Routes


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """A path that will be something. `public`: it will need no key."""

    verb: str
    path: str
    # What is missing, as the beginning of a sentence.
    feature: str
    public: bool = False

    @property
    def rate_class(self) -> int:
        """What calls of it count as."""
        return RATE_CLASS_PUBLIC if self.public else RATE_CLASS_AUTHENTICATED

    def failure(self) -> Failure:
        """The answer."""
        return Failure(
            status=HTTPStatus.NOT_IMPLEMENTED,
            error=f"{self.feature} not built yet: this version answers nothing else at {self.path}",
            reason="UNIMPLEMENTED",
        )


def _crud(feature: str, path: str, *verbs: str) -> list[NotYet]:
    return [NotYet(verb=verb, path=path, feature=feature) for verb in verbs]


NOT_YET: tuple[NotYet, ...] = (
    *_crud("scripts are", "/api/scripts", "GET"),
    *_crud("scripts are", "/api/scripts/{name}", "GET", "PUT", "DELETE"),
    *_crud("connections are", "/api/connections", "GET", "POST"),
    *_crud("connections are", "/api/connections/{name}", "GET", "PUT", "DELETE"),
    *_crud("connections are", "/api/connections/{name}/test", "POST"),
    *_crud("templates are", "/api/templates", "GET", "POST"),
    *_crud("reading a job's versions is", "/api/jobs/{id}/versions", "GET"),
    *_crud("approvals are", "/api/executions/{id}/approve", "POST"),
    *_crud("settings over the API are", "/api/settings", "GET", "PUT"),
    *_crud("the AI assistant is", "/api/ai/generate-job", "POST"),
    *_crud("MCP tool discovery is", "/api/mcp/tools", "GET"),
    NotYet(verb="GET", path="/api/auth/oidc/config", feature="OIDC sign-on is", public=True),
    NotYet(verb="GET", path="/api/auth/oidc/login", feature="OIDC sign-on is", public=True),
    NotYet(verb="GET", path="/api/auth/oidc/callback", feature="OIDC sign-on is", public=True),
)


def routes() -> Routes[NotYet]:
    """Where they are."""
    made: Routes[NotYet] = Routes()
    for each in NOT_YET:
        made.add(each.verb, each.path, each)
    return made
