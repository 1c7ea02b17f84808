"""The usual mistakes as data: each is a reading of the loss with a switch or two off its default.

The names are what a user reads after "consistent with: ".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from refloss.crosscheck import misread_pointwise, misread_terms

_Aligned = misread_terms.Reading
_Pointwise = misread_pointwise.Reading

_EVERY_SUM = frozenset({"dos", "front_tail", "gradient", "cumulate", "cumulative"})


def _all_masks(whose: str) -> _Aligned:
    return _Aligned(dos_mask=whose, gradient_mask=whose, cumulative_mask=whose)


ALIGNED: Final[Mapping[str, _Aligned]] = {
    # masks
    "mask inverted": _all_masks("inverted"),
    "mask ignored": _all_masks("ignored"),
    "mask ignored in the DOS term": _Aligned(dos_mask="ignored"),
    "mask ignored in the unmasked gradient (a gradient everywhere)": _Aligned(gradient_mask="inverted"),
    "mask of the unmasked gradient inverted": _Aligned(gradient_mask="inverted", below="counted", behind="left out"),
    "mask ignored in the cumulative": _Aligned(cumulative_mask="ignored"),
    "mask inverted in the DOS term": _Aligned(dos_mask="inverted"),
    "mask inverted in the cumulative": _Aligned(cumulative_mask="inverted"),
    "mask of the next structure": _all_masks("the next structure's"),
    "mask of the previous structure": _all_masks("the previous structure's"),
    "mask of the first structure for all": _all_masks("the first structure's"),
    "masks mixed across the batch (counts where all do)": _all_masks("all structures'"),
    "masks mixed across the batch (counts where any does)": _all_masks("any structure's"),
    "mask one point late": _all_masks("one point late"),
    "mask one point early": _all_masks("one point early"),
    "mask reversed": _all_masks("reversed"),
    "mask applied to the prediction alone": _Aligned(masked="prediction"),
    "cumulative masked before it is accumulated": _Aligned(masked="before cumulating"),
    "cumulative masked before it is accumulated, and after": _Aligned(masked="before and after cumulating"),
    "mask of the cumulative without its last point, not its first": _Aligned(dropped="mask's last"),
    # the energy step
    "energy step 0.05 whatever is given": _Aligned(dx="0.05"),
    "energy step 1 everywhere": _Aligned(dx="1"),
    "energy step over N, not N − 1 intervals": _Aligned(dx="N"),
    "half of the energy step": _Aligned(dx="half"),
    "DOS term without dx": _Aligned(without_dx=frozenset({"dos"})),
    "front tail without dx": _Aligned(without_dx=frozenset({"front_tail"})),
    "DOS term and front tail without dx": _Aligned(without_dx=frozenset({"dos", "front_tail"})),
    "backward difference without dx": _Aligned(without_dx=frozenset({"stencil"})),
    "unmasked gradient integrated without dx": _Aligned(without_dx=frozenset({"gradient"})),
    "cumulative without dx (running sum)": _Aligned(without_dx=frozenset({"cumulate"})),
    "cumulative integrated without dx": _Aligned(without_dx=frozenset({"cumulative"})),
    "cumulative without any dx": _Aligned(without_dx=frozenset({"cumulate", "cumulative"})),
    # half weights
    "half weights missing everywhere": _Aligned(without_halves=_EVERY_SUM, cumulate="rectangles"),
    "half weights missing in every integral": _Aligned(without_halves=_EVERY_SUM),
    "half weights missing in the DOS term": _Aligned(without_halves=frozenset({"dos"})),
    "half weights missing in the front tail": _Aligned(without_halves=frozenset({"front_tail"})),
    "half weights missing in the DOS term and front tail": _Aligned(without_halves=frozenset({"dos", "front_tail"})),
    "half weights missing in the unmasked gradient": _Aligned(without_halves=frozenset({"gradient"})),
    "half weights missing in the cumulative": _Aligned(without_halves=frozenset({"cumulative"})),
    "half weight missing at the first point": _Aligned(dropped="first half weight"),
    "half weight missing at the last point": _Aligned(dropped="last half weight"),
    # the DOS term
    "window off by one, up": _Aligned(used=1),
    "window off by one, down": _Aligned(used=-1),
    "last point left out of the window": _Aligned(dropped="last point"),
    "first point left out of the window": _Aligned(dropped="first point"),
    "masked-out points removed before the trapezoid rule": _Aligned(dropped="joined"),
    "absolute difference, not its square": _Aligned(misfit="absolute"),
    "root of the DOS term": _Aligned(misfit="root"),
    "half of the DOS term": _Aligned(misfit="half"),
    "mean over all points, not an integral": _Aligned(dos_measure="mean"),
    "mean over the selected points, not an integral": _Aligned(dos_measure="mean of the selected"),
    "sum over points, not an integral": _Aligned(dos_measure="sum"),
    "integral over energy, not a sum": _Aligned(dos_measure="integral"),
    # alignment
    "alignment maximised": _Aligned(choose="highest"),
    "alignment by overlap, not by misfit": _Aligned(choose="largest overlap"),
    "alignment without the mask": _Aligned(weighed="without the mask"),
    "alignment without half weights": _Aligned(weighed="without half weights"),
    "alignment with the front tail": _Aligned(objective="dos+front_tail"),
    "alignment without the front tail": _Aligned(objective="dos"),
    "alignment by the whole loss": _Aligned(objective="total"),
    "one shift for the whole batch": _Aligned(choose="one for the batch"),
    "no alignment": _Aligned(choose="never moved"),
    "no alignment (the last shift)": _Aligned(choose="last shift"),
    "last shift never tried": _Aligned(choose="all but the last"),
    "first shift never tried": _Aligned(choose="all but the first"),
    "every second shift tried": _Aligned(choose="every second"),
    "shift reported off by one, up": _Aligned(reported="one more"),
    "shift reported off by one, down": _Aligned(reported="one less"),
    "shift counted from the other end": _Aligned(reported="from the end"),
    "shift counted from the prediction's start": _Aligned(reported="from the prediction's start"),
    "padding behind the prediction alone": _Aligned(padding=(0, 2)),
    "padding before the prediction alone": _Aligned(padding=(2, 0)),
    "padding on one side left out (behind)": _Aligned(padding=(1, 0)),
    "padding on one side left out (before)": _Aligned(padding=(0, 1)),
    # the front tail
    "front tail left out": _Aligned(front_tail=False),
    "front tail counted": _Aligned(front_tail=True),
    "front tail one point too short": _Aligned(tail="one point less"),
    "front tail one point too long": _Aligned(tail="one point more"),
    "tail behind the window, not before it": _Aligned(tail="behind"),
    # the unmasked gradient
    "stencil reversed": _Aligned(stencil="reversed"),
    "forward instead of backward difference": _Aligned(stencil="forward"),
    "first-order backward difference": _Aligned(stencil="first order"),
    "central difference": _Aligned(stencil="central"),
    "central difference of fourth order": _Aligned(stencil="central, fourth order"),
    "stencil without the twelfth": _Aligned(stencil="without the twelfth"),
    "stencil in float32 for dx = 0.05": _Aligned(stencil="float32"),
    "gradient points of the window": _Aligned(gradient_points="window"),
    "gradient points of the whole prediction": _Aligned(gradient_points="prediction"),
    "backward difference within the window alone": _Aligned(gradient_points="inside the window"),
    "gradient's first four points integrated as zeros": _Aligned(from_four=False),
    "points below the window count as unmasked": _Aligned(below="counted"),
    "points behind the window left out of the unmasked gradient": _Aligned(behind="left out"),
    # the cumulative
    "squares cumulated": _Aligned(cumulated="squares"),
    "cumulative over the batch": _Aligned(cumulative="batch"),
    "plain running sum for the cumulative": _Aligned(cumulate="rectangles"),
    "running sum without the first point": _Aligned(cumulate="rectangles without the first"),
    "running sum without the last point": _Aligned(cumulate="rectangles without the last"),
    "running trapezoid without its half": _Aligned(cumulate="without the half"),
    "cumulative from the highest energy down": _Aligned(cumulate="from above"),
    "cumulative not accumulated": _Aligned(cumulate="not at all"),
    # weights and reduction
    "weights swapped": _Aligned(weigh="swapped"),
    "weights ignored": _Aligned(weigh="not at all"),
    "default weights whatever is given": _Aligned(weigh="defaults"),
    "weight of the cumulative ignored": _Aligned(weigh="only the gradient"),
    "weight of the unmasked gradient ignored": _Aligned(weigh="only the cumulative"),
    "unmasked gradient left out": _Aligned(weigh="without the gradient"),
    "cumulative left out": _Aligned(weigh="without the cumulative"),
    "weights squared": _Aligned(weigh="squared"),
    "reduction ignored (mean)": _Aligned(reduction="mean"),
    "sum instead of mean": _Aligned(reduction="sum"),
    "mean over points too": _Aligned(reduction="mean over points"),
    # the derivative
    "gradient of the target, not of the prediction (sign)": _Aligned(slope="negated"),
    "missing factor 2 in the gradient": _Aligned(slope="halved"),
    "gradient doubled": _Aligned(slope="doubled"),
    "gradient not divided by the batch": _Aligned(slope="not averaged"),
    "gradient divided by the batch whatever the reduction": _Aligned(slope="averaged always"),
    "gradient without the DOS term": _Aligned(slope="without dos"),
    "gradient without the front tail": _Aligned(slope="without front_tail"),
    "gradient without the unmasked gradient": _Aligned(slope="without unmasked_gradient"),
    "gradient without the cumulative": _Aligned(slope="without cumulative"),
    "gradient not moved by the shift": _Aligned(slope="not moved by the shift"),
    "gradient of the running sum not reversed": _Aligned(slope="running sum not transposed"),
    "gradient of the stencil not reversed": _Aligned(slope="stencil not transposed"),
    "gradient of the DOS term without the mask": _Aligned(slope="unmasked dos"),
}  # fmt: skip
"""Mistakes in masked_dos and shift_agnostic_mse, each with the reading that has it."""

EVERY_POINTWISE: Final[dict[str, _Pointwise]] = {
    "mask inverted": _Pointwise(selected="inverted"),
    "mask ignored": _Pointwise(selected="ignored"),
    "mask of the next structure": _Pointwise(selected="the next structure's"),
    "mask of the previous structure": _Pointwise(selected="the previous structure's"),
    "mask of the first structure for all": _Pointwise(selected="the first structure's"),
    "masks mixed across the batch (counts where all do)": _Pointwise(selected="all structures'"),
    "masks mixed across the batch (counts where any does)": _Pointwise(selected="any structure's"),
    "mask one point late": _Pointwise(selected="one point late"),
    "mask one point early": _Pointwise(selected="one point early"),
    "mask applied to the prediction alone": _Pointwise(masked="prediction"),
    "NaN targets counted as zeros": _Pointwise(selected="with NaN as zero"),
    "mean over all instead of selected": _Pointwise(divided="by all"),
    "mean divided by n − 1": _Pointwise(divided="by all but one"),
    "mean divided by n + 1": _Pointwise(divided="by one more"),
    "mean of each structure's mean": _Pointwise(divided="by rows"),
    "mean over structures, not elements": _Pointwise(divided="by the structures"),
    "NaN where nothing is selected": _Pointwise(empty="nan"),
    "unselected elements returned as zeros": _Pointwise(empty="zeros kept"),
    "reduction ignored (mean)": _Pointwise(reduction="mean"),
    "sum instead of mean": _Pointwise(reduction="sum"),
    "elements not reduced": _Pointwise(reduction="none"),
    "root of the loss": _Pointwise(rooted=True),
    "loss doubled": _Pointwise(factor=2.0),
    "loss halved": _Pointwise(factor=0.5),
    "gradient of the target, not of the prediction (sign)": _Pointwise(sign="negated"),
    "gradient doubled": _Pointwise(sign="doubled"),
    "gradient not divided by the reduction's count": _Pointwise(slope_divided="by one"),
    "gradient divided by all instead of selected": _Pointwise(slope_divided="by all"),
    "gradient divided by the count whatever the reduction": _Pointwise(slope_divided="by the selected"),
    "gradient without the mask": _Pointwise(slope_selected="all"),
}
"""Mistakes in any pointwise loss."""

POINTWISE: Final[Mapping[str, Mapping[str, _Pointwise]]] = {
    "mse": EVERY_POINTWISE
    | {
        "mae instead": _Pointwise(element="mae"),
        "half of the square": _Pointwise(element="half of mse"),
        "missing factor 2 in the gradient": _Pointwise(sign="halved"),
    },
    "mae": EVERY_POINTWISE
    | {
        "mse instead": _Pointwise(element="mse"),
        "mean error, without absolute value": _Pointwise(element="mean error"),
        "gradient one where nothing differs": _Pointwise(slope="one at no difference"),
        "gradient minus one where nothing differs": _Pointwise(slope="minus one at no difference"),
        "root of the square": _Pointwise(element="mse", rooted=True),
    },
    "huber": EVERY_POINTWISE
    | {
        "huber without the half": _Pointwise(element="without the half inside"),
        "huber's line without the half": _Pointwise(element="without the half outside"),
        "huber's line without its offset": _Pointwise(element="nothing taken off outside"),
        "huber's line without delta": _Pointwise(element="no delta outside"),
        "huber divided by delta (smooth L1)": _Pointwise(element="divided by delta"),
        "huber's branches swapped": _Pointwise(element="branches swapped"),
        "huber's knee without absolute value": _Pointwise(element="knee by the sign"),
        "huber without a line": _Pointwise(element="not clipped"),
        "delta ignored": _Pointwise(delta=1.0),
        "gradient of huber not clipped": _Pointwise(slope="not clipped"),
        "mae instead": _Pointwise(element="mae"),
        "mse instead": _Pointwise(element="mse"),
    },
}
"""Mistakes in each pointwise loss, masked or not."""
