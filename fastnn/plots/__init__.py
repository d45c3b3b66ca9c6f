"""Pictures of training, drawn with matplotlib, which is imported only when one is asked for.

Every function that is given axes draws on them and nowhere else: pyplot's current figure and
axes stay as they are, and nothing is shown. Without axes a figure is made with pyplot, because
that is what a notebook shows at the end of a cell and what ``plt.show()`` shows in a script.
"""

from fastnn.plots.curves import history, save_history
from fastnn.plots.digits import confusion, hidden_weights, misread
from fastnn.plots.figures import require_matplotlib, save
from fastnn.plots.fits import fit
from fastnn.plots.maps import feature_maps, filters

__all__ = [
    "confusion",
    "feature_maps",
    "filters",
    "fit",
    "hidden_weights",
    "history",
    "misread",
    "require_matplotlib",
    "save",
    "save_history",
]
