"""What may reach a terminal: no control characters of others, no blanks at the ends of lines.

Names, parameters and error texts come from a shared MLflow or from a foreign server; their
author could otherwise clear a colleague's screen or set its title.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
} | {
    # Those that break lines, and that write the other way: text would not be read as it is.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
_TRAILING = re.compile(r"[ \t]+(?=\n)")


class SafeConsole(Console):
    r"""A console that shows control characters in text as `\x1b`; styles stay.

    A name such as `:wine_glass:` stays as it is, too, and the table of emojis is not imported.
    """

    def __init__(self, **keywords: Any) -> None:  # noqa: ANN401 - Rich's own
        super().__init__(**{"emoji": False, **keywords})

    def render_str(self, text: str, **keywords: Any) -> Text:  # noqa: ANN401 - Rich's own
        """See `rich.console.Console.render_str`; a table measures a cell after this."""
        return super().render_str(text.translate(_CONTROL), **keywords)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See `rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(segment.text.translate(_CONTROL), segment.style)


class Trimmed:
    """A stream for a pipe: no line ends in blanks, which tables are padded with.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write without blanks at the ends of lines."""
        return self._stream.write(_TRAILING.sub("", text))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)
