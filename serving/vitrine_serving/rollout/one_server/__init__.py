"""A rollout inside one server: both versions loaded side by side, and the labels `stable` and `canary` between them."""
