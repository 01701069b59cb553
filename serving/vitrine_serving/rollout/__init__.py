"""A new version beside the stable one: canary, judgement, promotion, or back again.

Nothing in here imports TensorFlow. `engine` decides what comes next and keeps it in the target, `judging` says whether
the canary is as good as stable, and the targets do what they are told: `kubernetes` a fleet, `one_server` one server's
configuration folder.
"""
