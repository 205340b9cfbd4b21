"""How an optional part of the dependencies is installed: asr_kd is on no registry, so always from its checkout."""


def how_to_install(extra: str) -> str:
    """The commands for an extra of pyproject.toml, to be run in the checkout."""
    extras = ",".join(dict.fromkeys(["voices", "dev", extra]))
    return f"Run `bash tools/setup.sh {extras}` in the checkout, or `pip install -e '.[{extra}]'` there."
