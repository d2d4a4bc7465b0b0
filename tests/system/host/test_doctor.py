"""`kronforce doctor` next to a controller that runs, and after one that was killed."""

from tests.system.rig.cluster import Cluster
from tests.system.rig.restoring import command


async def findings(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Verdict and message by check; of one that says several things, the last."""
    said = await command(cluster, "doctor")
    lines = [line.split("\t") for line in said.text.splitlines()]
    found = {check: (verdict, message) for verdict, check, message, _ in lines}
    wrong = [check for check, (verdict, _) in found.items() if verdict == "wrong"]
    assert (said.code, wrong) == (0, []), said.text
    return found


async def test_a_cluster_that_is_well_is_found_well_before_and_after_a_kill(made: Cluster) -> None:
    controller = await made.start_controller()
    await made.start_agent()
    await made.until_online()
    await made.client.jobs.create({"name": "kept", "task": {"type": "noop"}})

    found = await findings(made)
    assert found["controller"][1].startswith(f"process {controller.pid}, at ")
    for check in ("data folder", "key files", "database", "schema", "keys", "time", "server",
                  "agents", "agents' clocks"):  # fmt: skip
        assert found[check][0] == "fine", found[check]
    assert (await made.client.jobs.get("kept")).name == "kept"

    await controller.kill()
    found = await findings(made)
    assert found["controller"][0] == "warning"
    assert "did not end by itself" in found["controller"][1]
    assert "agents" not in found

    await made.start_controller()
    assert (await findings(made))["controller"][0] == "fine"
