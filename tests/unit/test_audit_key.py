"""The key that signs the audit log: made once, private, refused when it is none."""

import stat

import pytest

from kronforce.audit_key import FILE, KEY_BYTES, audit_key
from kronforce.config import CannotStart, Config


@pytest.fixture
def config(tmp_path):
    return Config(data_dir=tmp_path, db=str(tmp_path / "k.db"))


def test_the_key_is_made_once_and_is_its_owners_alone(config):
    made = audit_key(config)
    assert len(made) == KEY_BYTES
    assert stat.S_IMODE((config.data_dir / FILE).stat().st_mode) == 0o600
    assert audit_key(config) == made


@pytest.mark.parametrize("content", ["", "c2hvcnQ=\n", "not base64!", "ü"])
def test_a_file_that_holds_no_key_is_refused(config, content):
    (config.data_dir / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(CannotStart, match="audit"):
        audit_key(config)
