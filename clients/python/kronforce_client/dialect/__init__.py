"""The JSON form of every message of the contract, both ways, derived from the descriptors.

`render` makes plain data of a message, `parse` reads plain data strictly, `loads` and `dumps` do
text. One dialect for HTTP, YAML files and the command's output. Field names are those of the
proto; enum values are lower-case without prefix; instants are RFC 3339 in UTC; durations are text
in seconds (`"1.5s"`, a number is accepted); a oneof with `json_union` is one tagged object; int64
is a number (text is accepted); bytes are base64; Struct and Value are free JSON. What a message
type needs is compiled once and kept. Imports protobuf and the standard library, nothing else.
"""

from kronforce_client.dialect.codec import parse, render
from kronforce_client.dialect.problems import DialectError, Path, Problem, path_text
from kronforce_client.dialect.text import dumps, loads
from kronforce_client.dialect.writing import writer_of_some

__all__ = [
    "DialectError",
    "Path",
    "Problem",
    "dumps",
    "loads",
    "parse",
    "path_text",
    "render",
    "writer_of_some",
]
