"""Series of numbers: text to frames and back, the side of a vocabulary where there are no words.

A series is written as in `.ts` files: channels with colons between, the values of each with commas between.

    1.86,1.89,1.94:-0.21,-0.19,-0.20          two channels, three steps
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from regard.data.config import TextConfig
from regard.data.tokenizer import Tokenizer
from regard.errors import RegardError

Frames = npt.NDArray[np.float32]
"""(steps, channels)"""
FORMAT = 1
_BETWEEN = re.compile(r"[^\s,:]\s+[^\s,:]")


class Series:
    """What is known of the channels of a data set: how many, and each one's mean and deviation, by which it is scaled.

    It stands where a `Tokenizer` does, for a source: `encode` gives frames in the place of ids.

        series = Series.learn(["1,2,3:0,0,1", "2,2:1,0"], TextConfig(tokenizer="series"))
        series.encode(["1,2,3:0,0,1"])[0].shape          # (3, 2)
    """

    size = 0
    """No pieces."""
    labels: ClassVar[list[str]] = []
    space: ClassVar[list[int]] = []
    paradigms = None

    def __init__(self, config: TextConfig, mean: Frames, deviation: Frames) -> None:
        self.config, self.mean, self.deviation = config, mean, deviation

    @property
    def channels(self) -> int:
        return len(self.mean)

    @classmethod
    def learn(cls, texts: Iterable[str], config: TextConfig) -> Series:
        """From the training data; a channel that is constant is only shifted."""
        count, total, squares = 0, np.zeros(0), np.zeros(0)
        for text in texts:
            frames = numbers(text).astype(np.float64)
            if not count:
                total, squares = np.zeros(frames.shape[1]), np.zeros(frames.shape[1])
            if frames.shape[1] != len(total):
                raise RegardError(f"a series of {frames.shape[1]} channels, and others have {len(total)}: {text[:60]}")
            count, total, squares = count + len(frames), total + frames.sum(0), squares + (frames**2).sum(0)
        if not count:
            raise RegardError("there is no series to learn from: is the training data empty?")
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        return cls(config, mean.astype(np.float32), np.where(deviation > 1e-8, deviation, 1.0).astype(np.float32))

    def normalize(self, text: str) -> str:
        """As it is, without white space."""
        return "".join(text.split())

    def encode(self, texts: Sequence[str]) -> list[Frames]:
        """Scaled frames of each series; none for an empty text."""
        return [self._frames(text) for text in texts]

    encode_arrays = encode

    def _frames(self, text: str) -> Frames:
        found = numbers(text)
        if len(found) and found.shape[1] != self.channels:
            raise RegardError(f"a series of {found.shape[1]} channels, expected {self.channels}: {text[:60]}")
        scaled: Frames = (found.reshape(-1, self.channels) - self.mean) / self.deviation
        return scaled[: self.config.truncate]

    def kept(self, text: str, characters: int) -> str:
        """The first steps, where the config takes no more."""
        most = self.config.truncate
        return text if most is None else ":".join(",".join(c.split(",", most)[:most]) for c in text.split(":"))

    def strange_tags(self, text: str) -> list[str]:
        """A series has no tags."""
        return []

    def unnamed(self, text: str, first: int | None = None) -> dict[int, str]:
        """Nothing can be copied."""
        return {}

    def pieces(self, frames: Sequence[Any], unnamed: Mapping[int, str] | None = None) -> list[str]:
        """Steps by their numbers, from 1."""
        return [str(step) for step in range(1, len(frames) + 1)]

    def to_json(self) -> str:
        scale = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        content = {"format": FORMAT, "text": self.config.model_dump(mode="json"), "series": scale}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Series:
        """ValueError, KeyError or TypeError where it is no such thing."""
        scale = (np.array(content["series"][key], dtype=np.float32) for key in ("mean", "deviation"))
        return cls(TextConfig(**content["text"]), *scale)


def numbers(text: str) -> Frames:
    """The frames that a text says; (0, 0) for an empty one."""
    if _BETWEEN.search(text):
        raise RegardError(f"not a series of numbers (white space between two): {text[:60]}")
    text = "".join(text.split())
    if not text:
        return np.zeros((0, 0), dtype=np.float32)
    try:
        channels = [np.array(channel.split(","), dtype=np.float32) for channel in text.split(":")]
    except ValueError as error:
        raise RegardError(f"not a series of numbers ({error}): {text[:60]}") from None
    if len({len(channel) for channel in channels}) > 1:
        raise RegardError(
            f"channels of unlike lengths, {', '.join(str(len(channel)) for channel in channels)}: {text[:60]}"
        )
    found = np.stack(channels, 1)
    if not np.isfinite(found).all():
        raise RegardError(f"a value is missing or infinite; fill it in first: {text[:60]}")
    return found


def written(series: npt.ArrayLike) -> str:
    """The text of a series given as numbers, (steps,) or (steps, channels); `numbers` gives the same float32 back."""
    try:
        frames = np.asarray(series, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise RegardError(f"not a series of numbers ({error}): {str(series)[:60]}") from None
    if frames.ndim not in (1, 2) or not frames.size:
        raise RegardError(f"no series, which is (steps,) or (steps, channels): {frames.shape}, {str(series)[:60]}")
    if not np.isfinite(frames).all():
        raise RegardError(f"a value is missing or infinite; fill it in first: {str(series)[:60]}")
    return ":".join(",".join(channel) for channel in frames.reshape(len(frames), -1).T.astype(str).tolist())


class Alike:
    """What is wrong with each of many texts as a series; the first good one says how many channels there are."""

    def __init__(self) -> None:
        self.channels = 0

    def defect(self, text: str) -> str:
        """Empty for a series as those before it, and for an empty text."""
        try:
            return self.unlike(numbers(text).shape[1])
        except RegardError as error:
            return str(error)

    def unlike(self, channels: int) -> str:
        """The same of a series that is well formed, of so many channels."""
        self.channels = self.channels or channels
        if channels in (0, self.channels):
            return ""
        return f"a series of {channels} channels, and the first has {self.channels}"


def load_tokenizer(path: str | Path) -> Tokenizer:
    """What a side's file holds: a tokenizer, or what is known of series, which stands where one does."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text)
        if isinstance(content, dict) and "series" in content:
            return cast(Tokenizer, Series.of_json(content))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError):
        pass  # which the other says better
    return Tokenizer.load(path)
