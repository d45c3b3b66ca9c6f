"""A whole training run in one process: `python -m bench.one_process CONTESTANT FOLDER`.

Reads x.npy and t.npy from the folder, trains, and prints as JSON the losses' ends and the seconds
spent reading the files, which are the same for every contestant. `bench.processes` times it.
"""

import json
import sys
import time

from bench import inputs
from bench.rivals import CONTESTANTS

LAYER_SIZES = (784, 50, 10)
BATCH = 100
STEPS = 600
LR = 0.1
LAST = 50


def main():
    name, folder = sys.argv[1:]
    started = time.perf_counter()
    x, t = inputs.read(folder)
    read = time.perf_counter() - started
    batches = inputs.draw_batches(STEPS, BATCH, rows=len(x))
    start = inputs.start_params(LAYER_SIZES)
    losses = CONTESTANTS[name](LAYER_SIZES, "relu", start).run(x, t, batches, LR)
    answers = {"first": float(losses[0]), "last": float(losses[-LAST:].mean()), "read": read}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
