"""The slow twin of `eventveil.io.formats.clock`: whole lists, no arrays, no state between calls."""

from __future__ import annotations

MINUTE_US = 60_000_000
NEEDED = 8


def follow(readings: list[int], bits: int, tick_us: int, near_us: int, origin_us: int) -> list[int | None]:
    """Return the time of each reading in microseconds, or None where it is left out."""
    clock = _Rules(2**bits, max(1, near_us // tick_us), MINUTE_US // tick_us)
    times: list[int | None] = []
    history: list[tuple[int, int]] = []  # (reading, ticks) of those that count
    while len(times) < len(readings):
        rest = readings[len(times) :]
        last = history[-1] if history else None
        ticks = clock.after(last, rest[0])
        left_out = 0
        if last is None or abs(ticks - last[1]) > clock.near:
            left_out = clock.outliers(last, rest)
        if left_out:
            times += [None] * left_out
        else:
            times.append(origin_us + tick_us * ticks)
            history.append((rest[0], ticks))
    return times


class _Rules:
    def __init__(self, span: int, near: int, minute: int) -> None:
        self.span, self.near, self.minute = span, near, max(1, minute)
        self.wrap = min(span // 2, minute)

    def after(self, last: tuple[int, int] | None, reading: int) -> int:
        """Return the ticks of a reading after another one."""
        if last is None:
            return reading
        epoch = last[1] - last[0]
        if (step := (reading - last[0]) % self.span) <= self.wrap and reading < last[0]:
            return last[1] + step
        if epoch > 0 and reading > last[0] and (last[0] - reading) % self.span <= self.near:
            return last[1] - (last[0] - reading) % self.span
        return epoch + reading

    def outliers(self, last: tuple[int, int] | None, rest: list[int]) -> int:
        """Return how many readings at the start of `rest`, which are far from the last one, are outliers."""
        run = [(rest[0], self.after(last, rest[0]))]
        if last is None and self.is_alone(run[0], rest[1:3]):
            return 1
        agreeing = 0
        for count, reading in enumerate(rest[1:], start=1):
            if last is not None:
                back = self.after(last, reading)
                if abs(back - last[1]) <= self.near:
                    return count
                if run[0][1] > last[1] and last[1] < back < run[-1][1] - self.near:
                    return count
                if run[0][1] <= last[1] < back:
                    return count
            ticks = self.after(run[-1], reading)
            if ticks >= run[-1][1] - self.near:
                run.append((reading, ticks))
                agreeing += 1
                if agreeing == NEEDED:
                    return 0
            elif len(run) > 1 and run[-1][1] != run[-2][1] and self.after(run[-2], reading) >= run[-2][1] - self.near:
                run[-1] = (reading, self.after(run[-2], reading))
            elif last is None and self.goes_on(run, rest[count + 1 :]):
                continue
            else:
                return count
        if agreeing or last is None or 0 < run[0][1] - last[1] <= self.minute:
            return 0
        return len(rest)

    def goes_on(self, run: list[tuple[int, int]], after: list[int]) -> bool:
        """Return whether the first run of a recording goes on after a reading far before it."""
        if not after:
            return len(run) > 1
        return self.after(run[-1], after[0]) >= run[-1][1] - self.near

    def is_alone(self, first: tuple[int, int], after: list[int]) -> bool:
        """Return whether more than a minute passes after the first reading of a recording, but not after the second."""
        if len(after) < 2:
            return False
        second = self.after(first, after[0])
        return second - first[1] > self.minute >= abs(self.after((after[0], second), after[1]) - second)
