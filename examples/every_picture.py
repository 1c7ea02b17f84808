# %% [markdown]
# # Every picture there is
#
# Energies, forces, stresses and densities of states of model crystals, predicted with errors of known kinds, evaluated,
# and drawn in every way. The pictures of the README are made by this page: run it in the folder `figures`.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import refloss
from refloss import demo, plotting

# %% The data of `refloss demo`, and the options that it writes, evaluated with gradients.
made = demo.make()
with TemporaryDirectory() as folder:
    demo.save(made, Path(folder))
    section = refloss.load_options(Path(folder) / demo.OPTIONS_FILE)
result = section.evaluate(**made.data.arguments(), grad=True)
dos = result.terms["mtt::dos"].result
worst = int(dos.per_structure.argmax())

# %% One structure: how it is aligned, what each term sees, what training makes of it, and the conventions.
pictures = {
    "alignment": plotting.plot_alignment(dos, worst),
    "cumulative": plotting.plot_cumulative(dos, worst),
    "penalty": plotting.plot_penalty(dos, worst),
    "gradient": plotting.plot_gradient(dos, worst),
    "conventions": plotting.plot_conventions(dos, worst),
}

# %% All structures: the worst and the best, what counts, by how much they were shifted, and how clear that was.
pictures |= {
    "gallery": plotting.plot_gallery(dos),
    "terms": plotting.plot_terms(dos),
    "masks": plotting.plot_masks(dos),
    "shifts": plotting.plot_shifts(dos),
    "landscapes": plotting.plot_landscapes(dos),
}

# %% Energies, forces and stresses: predictions over targets, and what each loss makes of an error.
pictures |= {
    "parity": plotting.plot_parity(result),
    "pointwise": plotting.plot_pointwise(result.terms["energy/positions"].arguments["delta"]),
}

# %% A page loads faster with 255 colours, which is as many as any of them needs.
for name, figure in pictures.items():
    path = f"{name}.png"
    plotting.save(figure, path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
print(f"total {result.total:.6g}: {len(pictures)} pictures")
