"""Every path that the guide documents is there: served, or 501 for what is not built yet."""

from kronforce_gateway.bindings import bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.not_yet import NOT_YET
from kronforce_gateway.routes import Routes
from tests.contract.http.documented import ENDPOINTS

UNKNOWN = {"NO_SUCH_PATH", "WRONG_VERB"}


def concrete(path: str) -> str:
    """A path with something in it for its variables."""
    return path.replace("{id}", "nothing").replace("{name}", "nothing")


async def test_every_documented_path_is_there(site):
    missing, unbuilt = [], []
    for verb, path, _ in ENDPOINTS:
        answer = await site(verb, concrete(path))
        said = answer.json() if answer.headers.get("content-type") == "application/json" else {}
        if isinstance(said, dict) and said.get("reason") in UNKNOWN:
            missing.append(f"{verb} {path}: {answer.status}")
        if answer.status == 501:
            unbuilt.append(f"{verb} {path}")
            assert said["reason"] == "UNIMPLEMENTED"
            assert "not" in said["error"]
    assert missing == []
    assert len(unbuilt) < len(ENDPOINTS) / 2


async def test_a_key_is_asked_for_first_also_where_nothing_is_built(site):
    for verb, path, public in ENDPOINTS:
        site.world.forgive()
        answer = await site(verb, concrete(path), key=None)
        assert (answer.status != 401) == public, f"{verb} {path}: {answer.status}"


async def test_what_is_not_built_says_so_to_whoever_may_ask(site):
    for each in NOT_YET:
        answer = await site(each.verb, concrete(each.path))
        # Anything else: it is served now, and its line in `not_yet` is to go.
        assert answer.status == 501, f"{each.verb} {each.path}"
        assert answer.json()["details"] == []
        assert each.feature.split()[0] in answer.json()["error"]


def test_no_method_of_the_contract_has_the_path_of_what_is_not_built():
    routes: Routes[str] = Routes()
    for each in NOT_YET:
        routes.add(each.verb, each.path, "not yet")
    for binding in bindings_of(SERVICES):
        # Raises where there is one: its line in `not_yet` is to go.
        routes.add(binding.verb, binding.path, binding.name)


async def test_a_path_says_which_verbs_it_takes(site):
    for path, allowed in (("/api/jobs", "GET, POST"), ("/api/scripts/x", "DELETE, GET, PUT")):
        answer = await site("PATCH", path)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert (await site("GET", "/api/nothing")).json()["reason"] == "NO_SUCH_PATH"
