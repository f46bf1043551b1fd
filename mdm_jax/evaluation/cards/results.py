"""What a card holds, and how it shows itself."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

FORMAT = "mdm_jax card 1"
_BITS = 1 / math.log(2)


class Card:
    """Families of samplers at equal numbers of passes: what :func:`~mdm_jax.evaluation.card` found.

    Its content is that of ``card.json``. Costs are in nats per token:

    * ``families``: each with its ``name``, ``kind`` (``"plan"``: random order; ``"rule"``: an order that looks at the
      model) and ``points``: the ``setting``, the mean ``passes`` it took on the judging rows, ``cost_nats`` with the
      ends of its 95 % interval ``low`` and ``high``, what the profile ``predicted_nats`` (``None`` of rules), and how
      many rows it was ``chosen_on`` (0: there was nothing to choose, or the profile chose) and ``judged_on``.
    * ``comparisons``: at so many ``passes`` asked for, and ``taken`` on the judging rows, the ``family`` costs ``nats``
      more than the optimal plan (``over``) at as many passes as were taken, row by row, with its interval; and
      ``hindsight_loss_nats`` more than the best of its own settings on the judging rows (``None`` if not asked).
    * ``scored``: families by scores of their samples: ``setting``, ``passes``, ``samples``, and ``scores`` by name with
      ``mean``, ``low`` and ``high``.
    * ``rows``, ``work`` (row passes of choosing, of judging what was chosen, and of judging every setting that was
      tried), ``length``, ``passes``, ``profile_digest``, ``exact``.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    def to_json(self) -> dict[str, Any]:
        """The content of ``card.json``."""
        return dict(self.content)

    def __repr__(self) -> str:
        """Costs by family and passes, in bits per token; what differs from the optimal plan beyond its interval."""
        content = self.content
        asked = content["passes"]
        heading = ["bits per token", *(f"{passes} {'pass' if passes == 1 else 'passes'}" for passes in asked)]
        lines = [heading, *([family["name"], *self._cells(family)] for family in content["families"])]
        widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
        shown = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        rows = content["rows"]
        judged = "exact" if content["exact"] else f"judged on {rows['judged_on']} rows"
        first = f"Card({content['length']} tokens; chosen on {rows['chosen_on']} rows, {judged};"
        intervals = "" if content["exact"] else "; 95 % intervals, paired"
        last = f"+ costs more than the optimal plan at as many passes, - less{intervals})"
        return "\n".join([first, *(f"    {line}".rstrip() for line in shown), f"    {last}"])

    def _cells(self, family: Mapping[str, Any]) -> Sequence[str]:
        """A family's costs at the passes that were asked for, each with a sign where it differs."""
        points = {point["asked"]: point for point in family["points"]}
        signs = {
            one["passes"]: "+" if one["low"] > 0 else "-" if one["high"] < 0 else " "
            for one in self.content["comparisons"]
            if one["family"] == family["name"]
        }
        return [
            f"{points[asked]['cost_nats'] * _BITS:.4f}{signs.get(asked, ' ')}" if asked in points else " "
            for asked in self.content["passes"]
        ]
