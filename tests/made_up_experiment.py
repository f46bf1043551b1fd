"""An experiment that is made up: the source of a module, and a module that counts how often its parts run."""

import types

from matplotlib.figure import Figure

from experiments.tools.experiment import Conclusion, Experiment, Run

SOURCE = '''
"""A made-up experiment."""
CLAIM = Claim("ten is more than nine", source="ours", minutes=0.1, seeds=(3,))
LIMIT = 9  # of what is claimed
'''


class Calls(types.ModuleType):
    """The made-up experiment as a module, which counts how often its parts run."""

    LIMIT: int = 9

    def __init__(self) -> None:
        super().__init__("experiments.made_up")
        self.called: list[str] = []
        self.stops_at = ""

    def part(self, name: str, value: float) -> float:
        if name == self.stops_at:
            raise KeyboardInterrupt()
        self.called.append(name)
        return value

    def run(self, experiment: Experiment) -> Run:
        ten = experiment.part("ten", lambda: self.part("ten", 10.0))
        low, high = experiment.part("the interval", lambda: [self.part("the interval", 9.5), 10.5])
        return Run({"ten": ten, "interval": (low, high)}, Figure())

    def conclude(self, results: dict) -> Conclusion:
        value, (low, high) = results["ten"], results["interval"]
        verdict = "holds" if value > self.LIMIT else "does not"
        return Conclusion(verdict, f"it is {value:.1f}", {"ten": [value, low, high]}, "one number")
