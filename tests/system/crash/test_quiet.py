"""The mixed load on processes that nobody kills: what every other test here is held against."""

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes


async def test_a_mixed_load_keeps_every_promise_when_nothing_breaks(made: Cluster) -> None:
    notes = Notes(made.folder / "notes")
    recorder = Recorder(made, notes)
    await made.start_controller()
    await made.start_agent()
    load = Load(made, recorder, notes)
    await load.define()
    await recorder.follow()
    await load.fire()
    await load.stop_ticking()
    await recorder.settled()
    history = await recorder.history()
    assert judge(history) == []
