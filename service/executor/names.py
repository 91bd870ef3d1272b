"""Which texts may be written into generated source."""

import keyword
import re
from typing import Final

_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)


def is_name(text: str) -> bool:
    """Whether a text is a name of GraphQL's grammar."""
    return _NAME.fullmatch(text) is not None


def is_attribute(text: str) -> bool:
    """Whether a text may follow a dot: a name that is not a word of Python's."""
    return is_name(text) and not keyword.iskeyword(text)
