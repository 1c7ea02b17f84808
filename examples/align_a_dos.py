# %% [markdown]
# # From eigenvalues to an aligned density of states
#
# The energies of a crystal have no natural zero, so a model may get a density of states right but for a shift.
# `masked_dos` slides the prediction along the energy axis until it fits, and then compares.

# %%
import numpy as np

import refloss
from refloss import crystals, plotting, spectra

# %% The target: gallium arsenide, its states broadened by Gaussians. It counts up to where the bands are complete.
grid = spectra.PET_MAD_DOS
states, weights = crystals.GALLIUM_ARSENIDE.spectrum((8, 8, 8))
target = spectra.gaussian_dos(states, weights, grid.targets)
mask = spectra.confidence_mask(states, grid.targets)

# %% The "prediction": the same crystal, compressed by 1 %, with all energies 3 eV too low.
compressed = crystals.GALLIUM_ARSENIDE.strained(-0.01 * np.eye(3))
too_low = compressed.spectrum((8, 8, 8))[0] - 3.0
prediction = spectra.gaussian_dos(too_low, weights, grid.predictions)

# %% The loss of a batch of one. A prediction has 200 points more than its target, all below: the room to slide in.
result = refloss.masked_dos([prediction], [target], [mask], energy_grid=grid.targets)
up = (grid.extra - result.shift[0]) * result.energy_step
print(f"{result}: moved up by {up:.2f} eV")

# %% Both densities, their difference, the states counted from below, and the objective at every shift.
figure = plotting.plot_alignment(result, energy_range=(-18.0, 14.0))
plotting.save(figure, "aligned.png")
