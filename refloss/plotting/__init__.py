"""Pictures of losses: what was aligned, what counted, where the loss came from.

Each picture is two functions. ``…_data`` is pure: it returns, as frozen arrays, what is to be drawn; ``plot_…`` draws
it and returns the `matplotlib.figure.Figure`. Nothing here goes through pyplot, and the packaged style
(``refloss.plotting.refloss``) is a context around each drawing, so no backend, no current figure and no setting of the
caller changes. matplotlib is imported by the first drawing.

Energies are in eV and densities of states in states/eV; each energy axis names its zero. Colours are those of
Okabe and Ito, which colour-blind people tell apart, and nothing is told by colour alone. (docs/specification.md,
sections 1 to 3, defines what is drawn.)
"""

from __future__ import annotations

from refloss.plotting.alignment import AlignmentData, alignment_data, plot_alignment
from refloss.plotting.conventions import ConventionsData, conventions_data, plot_conventions
from refloss.plotting.cumulative import CumulativeData, cumulative_data, plot_cumulative
from refloss.plotting.gallery import GalleryData, gallery_data, plot_gallery
from refloss.plotting.gradient import GradientData, gradient_data, plot_gradient
from refloss.plotting.landscapes import LandscapesData, landscapes_data, plot_landscapes
from refloss.plotting.masks import MasksData, masks_data, plot_masks
from refloss.plotting.parity import ParityData, parity_data, plot_parity
from refloss.plotting.penalty import PenaltyData, penalty_data, plot_penalty
from refloss.plotting.pointwise import PointwiseData, plot_pointwise, pointwise_data
from refloss.plotting.shifts import ShiftsData, plot_shifts, shifts_data
from refloss.plotting.style import save
from refloss.plotting.terms import TermsData, plot_terms, terms_data

__all__ = [
    "AlignmentData",
    "ConventionsData",
    "CumulativeData",
    "GalleryData",
    "GradientData",
    "LandscapesData",
    "MasksData",
    "ParityData",
    "PenaltyData",
    "PointwiseData",
    "ShiftsData",
    "TermsData",
    "alignment_data",
    "conventions_data",
    "cumulative_data",
    "gallery_data",
    "gradient_data",
    "landscapes_data",
    "masks_data",
    "parity_data",
    "penalty_data",
    "plot_alignment",
    "plot_conventions",
    "plot_cumulative",
    "plot_gallery",
    "plot_gradient",
    "plot_landscapes",
    "plot_masks",
    "plot_parity",
    "plot_penalty",
    "plot_pointwise",
    "plot_shifts",
    "plot_terms",
    "pointwise_data",
    "save",
    "shifts_data",
    "terms_data",
]
