"""Both ways between a message and plain data.

Reading is done twice where it has to be: at first for what is plainly right, in place and without
a thought about where a mistake would be (`filling.py`); whatever else comes is read again by the
strict reader (`reading.py`), which knows every rule and names each problem with its path.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from kronforce_client.dialect.filling import NOT_PLAIN, filler_of
from kronforce_client.dialect.reading import read
from kronforce_client.dialect.writing import writer_of

M = TypeVar("M", bound=Message)


def render(message: Message, *, omit_defaults: bool = False) -> Any:
    """Plain data of a message.

    Fields without presence always appear unless `omit_defaults`; unset optional ones never do.
    """
    return writer_of(cast("Descriptor", message.DESCRIPTOR), omit=omit_defaults)(message)


def parse(kind: type[M], value: Any) -> M:
    """The message that plain data means. Raises DialectError with every problem found."""
    message = kind()
    try:
        filler_of(cast("Descriptor", kind.DESCRIPTOR))(message, value)
    except NOT_PLAIN:
        return read(kind, value)
    return message
