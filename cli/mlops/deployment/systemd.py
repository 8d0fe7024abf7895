"""A systemd user unit that starts a deployment after a crash and a reboot. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mlops.resources import shipped

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def systemd_unit(name: str, program: Sequence[str], folder: Path) -> str:
    """Return the unit as text; no secret is in it.

    Args:
        name: Deployment.
        program: How to call `mlops`, its path absolute: a unit has no PATH of a shell.
        folder: The project's.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    template = shipped("templates") / "systemd" / "service.j2"
    jinja = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    return jinja.from_string(template.read_text(encoding="utf-8")).render(
        name=name,
        unit=f"mlops-{name}.service",
        folder=_escaped(str(folder)),
        command=" ".join(_word(each) for each in (*program, "start", name, "--foreground")),
    )


def _escaped(text: str) -> str:
    """Write `%` such that systemd does not read a specifier.

    >>> _escaped("/home/ann/50% off")
    '/home/ann/50%% off'
    """
    return text.replace("%", "%%")


def _word(text: str) -> str:
    r"""Write one word of a command line as systemd.syntax(7) and systemd.service(5) read it.

    >>> _word("/opt/my project/mlops"), _word("a$b"), _word("/bin/mlops")
    ('"/opt/my project/mlops"', '"a$$b"', '/bin/mlops')
    """
    text = _escaped(text)
    if _PLAIN.fullmatch(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{quoted}"'
