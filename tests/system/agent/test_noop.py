from kronforce.v1 import execution_pb2 as ex
from tests.fakes.controller import FakeController, noop
from tests.system.agent.conftest import StartAgent

IN_AGENT = ("--task-types", "noop")


async def test_a_noop_is_accepted_and_its_result_carries_the_message(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop())
        await session.expect("accepted", key)
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert result.exit_code == 0
    assert [chunk.data for chunk in result.output] == [b"ok\n"]
    assert result.stdout_bytes == 3
    assert session.hello.task_types == ["noop"]
