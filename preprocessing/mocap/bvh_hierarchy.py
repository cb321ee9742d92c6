"""The HIERARCHY block of BVH files: a tolerant reader whose errors name the line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from diffpose.platform.base.errors import SourceError

CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass(frozen=True)
class EndSite:
    """The tip of a chain: joint index of its parent and offset (3,) in file units."""

    parent: int
    offset: tuple[float, float, float]


class Hierarchy:
    """Reads the HIERARCHY block token by token and remembers lines for messages.

    Attributes:
        names, parents, offsets, channels: One entry per joint, as in `BvhMotion`.
        end_sites: The tips.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.tokens: list[tuple[str, int]] = [
            (token, line)
            for line, content in enumerate(text.split("\n"), start=1)
            for token in re.findall(r"[{}]|[^\s{}]+", content)
        ]
        self.at = 0
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[tuple[float, float, float]] = []
        self.channels: list[tuple[str, ...]] = []
        self.end_sites: list[EndSite] = []

    def error(self, problem: str) -> SourceError:
        """Return an error that names the file and the line of the last token."""
        line = self.tokens[min(self.at, len(self.tokens)) - 1][1] if self.tokens else 1
        return SourceError(f"{self.file}, line {line}: {problem}")

    def take(self, expected: str) -> str:
        """Return the next token; `expected` is for the message at the end of the block."""
        if self.at >= len(self.tokens):
            raise self.error(f"the hierarchy ends where {expected} was expected")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def take_name(self) -> str:
        """Return a joint name: the rest of the line."""
        # Biped exports contain blanks in names ("Bip01 L Thigh"), so a name is the rest of a line.
        line = self.tokens[self.at - 1][1]
        words = [self.take("a joint name")]
        while (
            self.at < len(self.tokens)
            and self.tokens[self.at][1] == line
            and self.tokens[self.at][0] != "{"
        ):
            words.append(self.take("a joint name"))
        return " ".join(words)

    def take_vector(self) -> tuple[float, float, float]:
        """Return the three numbers of an OFFSET, in file units."""
        found = [self.take("a number") for _ in range(3)]
        try:
            x, y, z = (float(word) for word in found)
        except ValueError:
            raise self.error(f"OFFSET needs 3 numbers, found {found}") from None
        if not np.isfinite([x, y, z]).all():
            raise self.error(f"OFFSET needs 3 finite numbers, found {found}")
        return x, y, z

    def take_channels(self) -> tuple[str, ...]:
        """Return the channel names of a CHANNELS entry."""
        count = self.take("the number of channels")
        if not count.isdecimal() or int(count) > len(CHANNELS):
            raise self.error(f"CHANNELS needs a count from 0 to 6, found {count!r}")
        channels: list[str] = []
        for _ in range(int(count)):
            channel = self.take("a channel name").capitalize()
            if channel not in CHANNELS:
                raise self.error(
                    f"unknown channel {channel!r} (CHANNELS {count}); "
                    f"expected one of {', '.join(CHANNELS)}"
                )
            if channel in channels:
                raise self.error(f"channel {channel} appears twice in one joint")
            channels.append(channel)
        return tuple(channels)

    def open_node(self, keyword: str, stack: list[int]) -> None:
        """Start a joint or an End Site and push it on the stack of open nodes."""
        if keyword == "END":
            if not stack or stack[-1] < 0:
                raise self.error("End Site outside of a joint")
            self.take("Site")
            # Some exporters name their tips: 'End Site Head_tip'.
            while self.at < len(self.tokens) and self.tokens[self.at][0] not in ("{", "}"):
                self.at += 1
            stack.append(-1 - stack[-1])
        else:
            self.add_joint(keyword, stack)
        opened = self.take("'{'")
        if opened != "{":
            raise self.error(f"expected '{{', found {opened!r}")

    def add_joint(self, keyword: str, stack: list[int]) -> None:
        """Append a joint whose OFFSET and CHANNELS are still to come."""
        name = self.take_name()
        if keyword == "ROOT" and self.names:
            raise self.error(
                f"second ROOT {name!r} after {self.names[0]!r}; a file must hold one figure "
                "(split it into one file per figure)"
            )
        if keyword == "JOINT" and (not stack or stack[-1] < 0):
            raise self.error(f"JOINT {name!r} outside of ROOT")
        if name in self.names:
            raise self.error(f"joint name {name!r} is used twice")
        self.parents.append(stack[-1] if stack else -1)
        stack.append(len(self.names))
        self.names.append(name)
        self.offsets.append((0.0, 0.0, 0.0))
        self.channels.append(())

    def read(self) -> None:
        """Read the whole block.

        Raises:
            SourceError: The block is not a hierarchy of one figure.
        """
        first = self.take("HIERARCHY")
        if first.upper() != "HIERARCHY":
            raise self.error(f"expected HIERARCHY, found {first[:40]!r}; not a BVH file")
        # Entries >= 0 are open joints; -1 - j is an open End Site of joint j.
        stack: list[int] = []
        while self.at < len(self.tokens):
            keyword = self.take("a keyword").upper()
            if keyword in ("ROOT", "JOINT", "END"):
                self.open_node(keyword, stack)
            elif keyword == "}" and stack:
                stack.pop()
            elif keyword == "OFFSET" and stack:
                offset = self.take_vector()
                if stack[-1] >= 0:
                    self.offsets[stack[-1]] = offset
                else:
                    self.end_sites.append(EndSite(-1 - stack[-1], offset))
            elif keyword == "CHANNELS" and stack and stack[-1] >= 0:
                self.channels[stack[-1]] = self.take_channels()
            else:
                raise self.error(
                    f"unexpected {self.tokens[self.at - 1][0][:40]!r}; "
                    "expected ROOT, JOINT, End Site, OFFSET, CHANNELS or a balanced '}'"
                )
        if stack:
            raise self.error(f"unbalanced braces: {len(stack)} '{{' not closed before MOTION")
        if not self.names:
            raise self.error("no ROOT joint in the hierarchy")
