"""What the agent makes of a launcher that somebody else has taken over."""

from contextlib import suppress
from pathlib import Path

from kronforce.v1 import execution_pb2 as ex
from kronforce_agent.launcher.client import LauncherClient, LauncherGoneError
from kronforce_agent.launcher.paths import LauncherPaths
from tests.fakes.controller import FakeController, shell
from tests.system.agent.conftest import StartAgent

STOP = "--stop-tasks"


async def test_an_agent_that_was_cut_off_from_a_living_launcher_comes_back_to_it(
    controller: FakeController, start_agent: StartAgent, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    command = f"echo up; until [ -e {go} ]; do sleep 0.02; done; echo done"
    async with start_agent(STOP) as agent:
        session = await controller.session()
        (key,) = session.assign(shell(command))
        await controller.stored(key, 3)
        launcher = agent.launcher
        assert launcher is not None
        paths = LauncherPaths(data_dir=tmp_path / "agent-tester", boot_id=launcher.boot_id)
        # The agent may be back before the launcher has said a word to the other.
        with suppress(LauncherGoneError):
            intruder = await LauncherClient.connect(paths, lambda _events: None)
            await intruder.wait_closed()
        go.touch()
        result = await session.expect("result", key)
        stored = await controller.stored(key, 8)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert bytes(stored.streams[1]) == b"up\ndone\n"
    assert controller.connects == 1
