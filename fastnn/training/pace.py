"""How much compiled work to do before Python looks up."""

from __future__ import annotations

# Seconds of a call of compiled code: between calls Ctrl-C is noticed, callbacks are called and
# progress is shown.
CALL_SECONDS = 0.05


class Pacer:
    """How many steps the next call should make: about CALL_SECONDS of them.

    Parameters
    ----------
    rate : float, default 0
        Steps per second to begin with.  With 0 the first call makes one step, which shows more.

    Attributes
    ----------
    rate : float
        Steps per second, as measured.
    """

    def __init__(self, rate: float = 0.0):
        self.rate = rate

    def most(self, share: float = 1.0) -> int:
        """Steps of the next call, or of one that should be so much shorter; at least one."""
        return max(1, int(self.rate * CALL_SECONDS * share))

    def note(self, steps: int, seconds: float) -> None:
        """Note what a call has made.

        The next makes at most twice as many as any before: the first may have compiled, and later
        ones may take longer.  One that was cut short says nothing against many.
        """
        most = 2 * max(steps / CALL_SECONDS, self.rate)
        self.rate = min(steps / max(seconds, 1e-9), most)
