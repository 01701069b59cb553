"""Which batching and which threads serve a model best on this machine: tried, measured under load, and written down.

`candidates` says what there is to try, `copies` and `graph` make a model of a candidate without touching the store,
`measuring` starts a server with it and puts load on it, `halving` and `choosing` find the best, and `writing`, `report`
and `plot` tell of it. Nothing in here imports TensorFlow.
"""
