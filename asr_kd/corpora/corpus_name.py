"""The name of a corpus, which tells its utterances and shards from those of others."""

import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def corpus_name(text: str) -> str:
    """A name as users give it. ValueError when it could not begin the name of a file everywhere."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r}: up to 40 letters, digits, - and _ make a name")
    return text
